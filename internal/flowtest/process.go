package flowtest

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a daemon that runs in a Space, at most for the length of a test.
type Process struct {
	Cmd *exec.Cmd
	Log Log // what it prints
	// Ended is closed when it has.
	Ended chan struct{}

	t testing.TB
}

// Launch starts a daemon in the space. It is killed when the test ends; its log is shown when the test failed.
func (s *Space) Launch(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, Ended: make(chan struct{}), t: t}
	cmd.Stdout, cmd.Stderr = &p.Log, &p.Log
	cmd.WaitDelay = time.Second // children that hold the pipe open must not keep the end from being seen
	if err := s.Start(cmd); err != nil {
		t.Fatalf("cannot start %v: %v", cmd.Args, err)
	}
	go func() {
		_ = cmd.Wait() // killed, mostly
		close(p.Ended)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of %v:\n%s", cmd.Args, p.Log.String())
		}
	})
	return p
}

// Stop ends the process with SIGTERM; it must end with status 0.
func (p *Process) Stop() {
	p.t.Helper()
	_ = p.Cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	p.Wait()
	if code := p.Cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%v ended with status %d after SIGTERM:\n%s", p.Cmd.Args, code, p.Log.String())
	}
}

// Kill ends the process with SIGKILL.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill() // it may have ended
	p.Wait()
}

// Freeze stops the process in its tracks.
func (p *Process) Freeze() {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	for {
		err := unix.Waitid(unix.P_PID, p.Cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if err == nil {
			return
		}
		if err != unix.EINTR {
			p.t.Fatalf("waiting for %v to stop: %v", p.Cmd.Args, err)
		}
	}
}

// Thaw lets it go on.
func (p *Process) Thaw() {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		p.t.Fatal(err)
	}
}

// Wait waits for the process's end.
func (p *Process) Wait() {
	p.t.Helper()
	select {
	case <-p.Ended:
	case <-time.After(Patience):
		p.t.Fatalf("%v does not end:\n%s", p.Cmd.Args, p.Log.String())
	}
}
