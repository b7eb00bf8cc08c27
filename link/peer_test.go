package link_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/link"
)

// TestPeerLives: as soon as nobody holds it, a namespace does not live any more, even while its links are still there.
func TestPeerLives(t *testing.T) {
	_, c := host(t)
	cmd := exec.Command("sleep", "1000") // its namespace is mounted nowhere, where others would copy the mount
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	check(t, cmd.Start())
	end := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
	defer end()
	held, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	check(t, err)
	pair := pairOf("bv0123456789ab", netip.MustParseAddr("10.0.0.2"))
	_, _, err = c.CreatePair(pair, held)
	check(t, err)
	l, err := c.ByName(pair.Host)
	check(t, err)
	lives := func(l link.Link) bool {
		t.Helper()
		lives, err := c.PeerLives(l)
		check(t, err)
		return lives
	}
	end()
	if !lives(l) {
		t.Error("a namespace that somebody holds is dead")
	}
	check(t, unix.Close(held))
	if lives(l) {
		t.Error("a namespace that nobody holds lives")
	}
	if now, err := c.ByName(pair.Host); err == nil && lives(now) {
		t.Error("it lives as long as its link is there")
	} else if err != nil && !errors.Is(err, unix.ENODEV) {
		t.Error(err)
	}
}
