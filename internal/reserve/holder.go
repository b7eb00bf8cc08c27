package reserve

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// unknown is a holder of which nothing more can be found out.
const unknown = "another process"

// holder says what has p: "nginx (pid 812)", and as much of it as can be found out.
func (p Port) holder() string {
	sockets, err := listSockets(p.Proto, p.Port)
	if err != nil {
		return unknown
	}
	closing := false
	inodes := make(map[uint32]bool)
	for _, s := range sockets {
		if !s.overlaps(p.Addr) {
			continue
		}
		if s.inode == 0 { // a connection that has no process any more
			closing = true
			continue
		}
		inodes[s.inode] = true
	}
	if len(inodes) > 0 {
		if name := owner(inodes); name != "" {
			return name
		}
		return unknown
	}
	if closing {
		return "a connection that was closed just now; try again in a minute"
	}
	return unknown
}

// owner names the process, with the lowest pid of several, that has one of the sockets open; "" when there is none in sight.
func owner(inodes map[uint32]bool) string {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // a bad pattern is its only error
	best := 0
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && (best == 0 || pid < best) && hasOpen(dir, inodes) {
			best = pid
		}
	}
	if best == 0 {
		return ""
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", best))
	if err != nil {
		return fmt.Sprintf("pid %d", best)
	}
	return fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(name)), best)
}

// hasOpen reports whether the process with this /proc directory has one of the sockets open. Errors are of processes that just
// ended, or that we may not look into.
func hasOpen(dir string, inodes map[uint32]bool) bool {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		if err != nil {
			continue
		}
		number, found := strings.CutPrefix(target, "socket:[")
		if !found {
			continue
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
		if err == nil && inodes[uint32(inode)] {
			return true
		}
	}
	return false
}
