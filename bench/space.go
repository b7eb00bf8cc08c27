package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"

	bridgednetns "github.com/bridged/bridged/internal/netns"
)

// space is a network namespace of ours, with a name under /run/netns.
type space struct {
	name string
	ns   *bridgednetns.NS
}

func newSpace(name string) (*space, error) {
	ns, err := bridgednetns.Make(bridgednetns.Dir+"/"+name, "")
	if err != nil {
		return nil, err
	}
	return &space{name: name, ns: ns}, nil
}

// openSpace is a namespace that somebody else has made, and takes away.
func openSpace(name string) (*space, error) {
	s := &space{name: name}
	var err error
	s.ns, err = bridgednetns.Open(s.path())
	return s, err
}

// path is a file that the namespace can be opened by.
func (s *space) path() string { return bridgednetns.Dir + "/" + s.name }

func (s *space) close() error {
	s.ns.Close()
	return bridgednetns.Remove(s.path())
}

// do runs f in the namespace.
func (s *space) do(f func() error) error { return s.ns.Do(f) }

// exec runs a program in the namespace with this input and returns what it printed. Starting it costs no more than it must: the calling
// thread visits the namespace, no goroutine changes hands.
func (s *space) exec(input string, name string, args ...string) (string, error) {
	return s.execEnv(nil, input, name, args...)
}

// execEnv is exec with further variables in the environment.
func (s *space) execEnv(env []string, input, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	if err := s.visit(cmd.Run); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// visit is do in the calling goroutine.
func (s *space) visit(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := netns.Set(netns.NsHandle(s.ns.FD())); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := netns.Set(home); back != nil {
		panic("cannot return from a network namespace: " + back.Error()) // this thread is of no more use
	}
	runtime.UnlockOSThread()
	return err
}
