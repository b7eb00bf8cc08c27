package dockerengine

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// process is a daemon of the host: an engine, or ours.
type process struct {
	w    *world
	cmd  *exec.Cmd
	log  flowtest.Log
	done chan struct{} // closed when the process has ended
}

// launch starts a daemon on the host. It is killed when the test ends; its log is shown when the test failed.
func (w *world) launch(cmd *exec.Cmd) *process {
	w.t.Helper()
	p := &process{w: w, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	// A pipe that children hold open must not keep the end from being seen.
	cmd.WaitDelay = time.Second
	if err := w.host.Start(cmd); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		p.kill()
		if w.t.Failed() {
			w.t.Logf("log of %s:\n%s", filepath.Base(cmd.Path), p.log.String())
		}
	})
	return p
}

// stop ends the process with SIGTERM; it must end with status 0.
func (p *process) stop() {
	p.w.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.wait()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.w.t.Errorf("%s ended with status %d after SIGTERM", p.cmd.Args[0], code)
	}
}

// kill ends the process with SIGKILL.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// wait waits for the process's end.
func (p *process) wait() {
	p.w.t.Helper()
	select {
	case <-p.done:
	case <-time.After(flowtest.Patience):
		p.w.t.Fatalf("%s does not end", p.cmd.Args[0])
	}
}
