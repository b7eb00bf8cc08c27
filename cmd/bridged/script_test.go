package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/api"
	"github.com/bridged/bridged/api/apitest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bridged": isolatedMain, "bridged-cni": main})
}

// isolatedMain is the program, with a network namespace of its own for a daemon: not even one that starts although it must
// not touches the host's.
func isolatedMain() {
	const isolated = "BRIDGED_TEST_ISOLATED"
	if len(os.Args) > 1 && os.Args[1] == "daemon" && os.Getuid() == 0 && os.Getenv(isolated) == "" {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), isolated+"=1"))
		}
		panic(err)
	}
	main()
}

// TestScripts runs testdata/*.txtar. Each script finds a daemon, whose engine is one in memory, where BRIDGED_HOST says.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Setup:               startDaemon,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"engine": engineDoes,
			"netns":  makeNamespace,
		},
		Condition: condition,
	})
}

type engineKey struct{}

// startDaemon serves an engine in memory until the script ends.
func startDaemon(env *testscript.Env) error {
	dir, err := os.MkdirTemp("", "br") // the path of a socket is short: not the script's own directory
	if err != nil {
		return err
	}
	socket := filepath.Join(dir, "s")
	listener, err := api.Listen(socket)
	if err != nil {
		return err
	}
	engine := apitest.New()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- api.New(engine, api.Options{}).Serve(ctx, listener) }()
	env.Defer(func() {
		stop()
		if err := errors.Join(<-done, os.RemoveAll(dir)); err != nil {
			panic(err)
		}
	})
	env.Values[engineKey{}] = engine
	env.Setenv("BRIDGED_HOST", "unix://"+socket)
	env.Setenv("SOCKET_DIR", dir)
	env.Setenv("GORACE", "atexit_sleep_ms=0") // with the race detector each command would take a second more
	program, err := exec.LookPath("bridged")  // testscript.Main puts it there
	env.Setenv("BRIDGED", program)
	return err
}

// exits STATUS COMMAND…: the command ends with that exit status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	have := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		have = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	ts.Logf("exit status %d", have)
	if have != want {
		ts.Fatalf("exit status %d, want %d", have, want)
	}
}

// engineDoes changes what the script's engine does:
//
//	engine ready | engine warn TEXT… | engine ruleset VIEW TEXT | engine fail [CODE MESSAGE]
func engineDoes(ts *testscript.TestScript, _ bool, args []string) {
	engine := ts.Value(engineKey{}).(*apitest.Engine)
	switch args[0] {
	case "ready":
		engine.MarkReady()
	case "warn":
		engine.Warn(args[1:]...)
	case "ruleset":
		engine.SetRuleset(bridged.RulesetView(args[1]), args[2])
	case "fail":
		if len(args) == 1 {
			engine.Fail(nil)
		} else {
			engine.Fail(bridged.FromCode(args[1], args[2]))
		}
	default:
		ts.Fatalf("unknown: engine %s", args[0])
	}
}

// makeNamespace sets NETNS to the path of a fresh network namespace with the interface "inside", which goes when the script
// ends.
func makeNamespace(ts *testscript.TestScript, _ bool, _ []string) {
	made, end := make(chan string), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- ""
			return
		}
		made <- fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		<-end
	}()
	path := <-made
	if path == "" {
		ts.Fatalf("cannot make a network namespace")
	}
	ts.Defer(func() { close(end) })
	ts.Setenv("NETNS", path)
}

// condition knows [root]: without it the script skips what needs root, but not in CI.
func condition(name string) (bool, error) {
	if name != "root" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	if os.Getuid() != 0 && os.Getenv("CI") == "true" {
		return false, errors.New("CI must run as root")
	}
	return os.Getuid() == 0, nil
}
