package test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bridged/bridged/internal/flowtest"
)

// The scripts in testdata/script read like a user's session. Each has a world of its own; its commands are
//
//	daemon FLAGS…        starts the daemon and waits until it is ready
//	end                  ends it, as an administrator does
//	bridged ARGS…        a command on the host
//	on PLACE COMMAND…    a command on host, lan or far, or in a sandbox
//	serve PLACE PORT     a server there, on TCP and UDP, that answers with the name of the place
//	http PLACE PORT      a web server there, that says where it is
//	ask PLACE ADDR:PORT[/udp]   prints who answers, and which source it saw
//	lost PLACE ADDR:PORT[/udp] SANDBOX   nothing arrives in the sandbox, although it serves the port and the host reaches it
func TestScripts(t *testing.T) {
	need(t, "curl")
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			s := &script{world: newWorld(t)}
			testscript.Run(t, testscript.Params{
				Files:               []string{file},
				RequireExplicitExec: true,
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"daemon": s.start, "end": s.end, "bridged": s.command, "on": s.on, "serve": s.serve, "ask": s.ask, "lost": s.lost, "http": s.http,
				},
			})
		})
	}
}

// script is the world of one script.
type script struct {
	*world
	running *daemon
}

func (s *script) start(ts *testscript.TestScript, neg bool, args []string) {
	s.running = s.daemon(args...)
}

func (s *script) end(ts *testscript.TestScript, neg bool, args []string) { s.running.Stop() }

// outcome hands a command's output and status to the script.
func outcome(ts *testscript.TestScript, neg bool, stdout, stderr string, err error) {
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), stderr)
	switch {
	case err != nil && !neg:
		ts.Fatalf("%v", err)
	case err == nil && neg:
		ts.Fatalf("this should have failed")
	}
}

func (s *script) command(ts *testscript.TestScript, neg bool, args []string) {
	r := s.try(args...)
	var err error
	if r.code != 0 {
		err = fmt.Errorf("exit status %d", r.code)
	}
	outcome(ts, neg, r.stdout, r.stderr, err)
}

// place is a space by its name in scripts.
func (s *script) place(name string) *flowtest.Space {
	switch name {
	case "host":
		return s.host
	case "lan":
		return s.lan
	case "far":
		return s.far
	}
	return s.sandbox(name)
}

func (s *script) on(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: on PLACE COMMAND…")
	}
	cmd := exec.Command(args[1], args[2:]...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := s.place(args[0]).Do(cmd.Run)
	outcome(ts, neg, out.String(), errs.String(), err)
}

func (s *script) serve(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: serve PLACE PORT")
	}
	port, err := strconv.ParseUint(args[1], 10, 16)
	ts.Check(err)
	flowtest.Serve(s.t, s.place(args[0]), uint16(port))
}

func (s *script) http(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: http PLACE PORT")
	}
	var l net.Listener
	ts.Check(s.place(args[0]).Do(func() (err error) {
		l, err = net.Listen("tcp", ":"+args[1])
		return err
	}))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "hello from %s\n", args[0])
	})}
	s.t.Cleanup(func() { srv.Close() })
	go srv.Serve(l)
}

func (s *script) ask(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: ask PLACE ADDR:PORT[/udp]")
	}
	to, proto := target(ts, args[1])
	a, err := flowtest.Ask(s.place(args[0]), proto, to)
	said := ""
	if err == nil {
		said = fmt.Sprintf("%s saw %s\n", a.Server, a.Source.Addr())
	}
	outcome(ts, neg, said, "", err)
}

// target reads ADDR:PORT[/udp].
func target(ts *testscript.TestScript, arg string) (to netip.AddrPort, proto string) {
	text, proto, found := strings.Cut(arg, "/")
	if !found {
		proto = "tcp"
	}
	to, err := netip.ParseAddrPort(text)
	ts.Check(err)
	return to, proto
}

func (s *script) lost(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: lost PLACE ADDR:PORT[/udp] SANDBOX")
	}
	to, proto := target(ts, args[1])
	flowtest.Lost(s.t, s.place(args[0]), proto, to, s.place(args[2]), to.Port(), flowtest.Via(s.host, to))
}
