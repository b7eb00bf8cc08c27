package hostcheck

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// socketOwner names the process that has the netfilter socket with this port number open, as in "bridged (pid 812)"; "" when it
// is this process.
func socketOwner(port uint32) string {
	inode := socketInode(port)
	switch {
	case inode == "":
	case hasOpen("/proc/self", inode):
		return ""
	default:
		if name := holderOf(inode); name != "" {
			return name
		}
	}
	return fmt.Sprintf("another process (netlink port %d)", port)
}

// socketInode is the inode of a netfilter socket in the calling thread's network namespace; "" when it can't be found.
func socketInode(port uint32) string {
	list, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		return ""
	}
	return netfilterInode(string(list), port)
}

// netfilterInode finds the inode of a netfilter socket in the kernel's list of netlink sockets.
func netfilterInode(list string, port uint32) string {
	for line := range strings.Lines(list) {
		// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
		f := strings.Fields(line)
		if len(f) >= 10 && f[1] == strconv.Itoa(unix.NETLINK_NETFILTER) && f[2] == strconv.FormatUint(uint64(port), 10) {
			return f[9]
		}
	}
	return ""
}

// holderOf names a process that has the socket open; "" when there is none in sight.
func holderOf(inode string) string {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // a bad pattern is its only error
	for _, dir := range dirs {
		if !hasOpen(dir, inode) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			return "pid " + filepath.Base(dir)
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(dir))
	}
	return ""
}

// hasOpen reports whether the process with this directory in /proc has the socket open.
func hasOpen(dir, inode string) bool {
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err == nil && target == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}
