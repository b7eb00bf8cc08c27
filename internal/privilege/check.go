package privilege

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// capability is one that the daemon can't work without.
type capability struct {
	bit  uint
	name string
	use  string
}

func needed() []capability {
	return []capability{
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "links, addresses and the packet filter"},
		{unix.CAP_NET_RAW, "CAP_NET_RAW", "announcing addresses"},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "network namespaces"},
	}
}

// Check says which capabilities the daemon needs and the calling thread has not: [bridged.ErrDenied], with what to do.
// (Ports below 1024 need CAP_NET_BIND_SERVICE too, and the processes of other users CAP_SYS_PTRACE; that is found when it matters.)
func Check() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var words [2]unix.CapUserData // 32 capabilities each
	if err := unix.Capget(&header, &words[0]); err != nil {
		return fmt.Errorf("cannot learn the capabilities of this process: %w", err)
	}
	var missing []string
	for _, c := range needed() {
		if words[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name+" (for "+c.use+")")
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return bridged.Errorf(bridged.ErrDenied, "the daemon lacks %s: run it as root, in the host's user namespace", strings.Join(missing, ", "))
}
