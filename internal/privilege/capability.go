package privilege

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// capability is one that the daemon works with.
type capability struct {
	bit  uint
	name string
	use  string
	// must: the daemon can't work without it. What the others are for is found missing when it matters.
	must bool
}

// kept are the capabilities that the daemon keeps.
func kept() []capability {
	return []capability{
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "links, addresses and the packet filter", true},
		{unix.CAP_NET_RAW, "CAP_NET_RAW", "announcing addresses", true},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "network namespaces", true},
		{unix.CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", "reserving ports below 1024", false},
		{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "namespaces of processes", false},
		{unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "namespaces in directories of others", false},
	}
}

// set is a set of capabilities, a bit each.
type set uint64

func (s set) has(bit uint) bool { return s&(1<<bit) != 0 }

// keptSet is kept as a set.
func keptSet() (s set) {
	for _, c := range kept() {
		s |= 1 << c.bit
	}
	return s
}

// capabilities are the effective and the permitted ones of the calling thread.
func capabilities() (effective, permitted set, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var words [2]unix.CapUserData // 32 capabilities each
	if err := unix.Capget(&header, &words[0]); err != nil {
		return 0, 0, fmt.Errorf("cannot learn the capabilities of this process: %w", err)
	}
	effective = set(words[0].Effective) | set(words[1].Effective)<<32
	permitted = set(words[0].Permitted) | set(words[1].Permitted)<<32
	return effective, permitted, nil
}

// Check says which capabilities the daemon can't work without and the calling thread has not: [bridged.ErrDenied], with what to do.
func Check() error {
	effective, _, err := capabilities()
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range kept() {
		if c.must && !effective.has(c.bit) {
			missing = append(missing, c.name+" (for "+c.use+")")
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return bridged.Errorf(bridged.ErrDenied, "the daemon lacks %s: run it as root, in the host's user namespace", strings.Join(missing, ", "))
}

// dropCapabilities leaves every thread with those of keep that it has, and nothing in the sets that a program started by execve would
// draw from.
func dropCapabilities(keep set) error {
	_, permitted, err := capabilities()
	if err != nil {
		return err
	}
	errBounding := dropBounding(keep) // first: it takes CAP_SETPCAP
	if err := allThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return fmt.Errorf("cannot clear the ambient capabilities: %w", err)
	}
	if err := setCapabilities(permitted & keep); err != nil {
		return fmt.Errorf("cannot give up capabilities: %w", err)
	}
	return errBounding
}

// dropBounding takes all but keep out of the bounding set.
func dropBounding(keep set) error {
	for bit := uint(0); ; bit++ {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(bit), 0, 0, 0)
		switch {
		case errors.Is(err, unix.EINVAL): // the kernel's last one was before
			return nil
		case err == nil && (in == 0 || keep.has(bit)):
			continue
		case err == nil:
			err = allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(bit))
		}
		if err != nil {
			return fmt.Errorf("cannot take capability %d out of the bounding set: %w", bit, err)
		}
	}
}
