package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// TestMain lets the test program be the daemon that TestKilled kills: it appends and compacts until then.
func TestMain(m *testing.M) {
	dir := os.Getenv("STORE_TEST_DAEMON")
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := appendForever(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// appendForever prints each number that is on disk: a sandbox of that name, and every tenth a network.
func appendForever(dir string) error {
	var state bridged.State
	d := disk{Dirs{filepath.Join(dir, "run"), filepath.Join(dir, "state")}, filepath.Join(dir, "boot_id")}
	s, err := open(d.dirs, d.bootID, state.Apply)
	if err != nil {
		return err
	}
	for i := len(state.Sandboxes); ; i++ {
		c := sandbox(fmt.Sprint(i))
		if i%10 == 0 {
			c.Networks = network(fmt.Sprint(i)).Networks
		}
		if err := s.Append(c); err != nil {
			return err
		}
		state.Apply(c)
		if i%20 == 19 {
			if err := s.Compact(state.Whole()); err != nil {
				return err
			}
		}
		fmt.Println(i)
	}
}

// Whatever kill −9 interrupts: what was acknowledged is there, and at most one change more.
func TestKilled(t *testing.T) {
	dir := memDir(t)
	d := diskIn(t, dir)
	next := 0
	for round := range 40 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "STORE_TEST_DAEMON="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range round { // no two are killed after the same number of changes
			lines.Scan()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		acknowledged := next - 1
		if round > 0 {
			fmt.Sscan(lines.Text(), &acknowledged)
		}
		for lines.Scan() { // what it still said before it died
			fmt.Sscan(lines.Text(), &acknowledged)
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the daemon was not killed: %v", err)
		}
		got, warnings := d.reopen(t)
		n := len(got.Sandboxes)
		if n < acknowledged+1 || n > acknowledged+2 || len(warnings) > 0 {
			t.Fatalf("%d changes acknowledged, %d found; %q", acknowledged+1, n, warnings)
		}
		for i := range n {
			if _, ok := got.Sandboxes[fmt.Sprint(i)]; !ok {
				t.Fatalf("%d changes found, but not number %d", n, i)
			}
			if _, ok := got.Networks[fmt.Sprint(i)]; !ok && i%10 == 0 {
				t.Fatalf("%d changes found, but not network %d", n, i)
			}
		}
		next = n
	}
}
