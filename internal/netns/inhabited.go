package netns

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// File is device and inode number of a namespace's file: see [NS.ID].
type File struct{ Dev, Ino uint64 }

// Inhabited are the network namespaces that a process is in, or that are mounted where the calling process sees them, each with a path
// that leads to it. It looks at every process and every mount; what it may not see is left out, and so is the calling process: a thread of
// it may just be on a visit (see [NS.Do]).
func Inhabited() (map[File]string, error) {
	found := make(map[File]string)
	add := func(path string) {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			found[File{st.Dev, st.Ino}] = path
		}
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes: %w", err)
	}
	for _, p := range processes {
		if pid, err := strconv.Atoi(p.Name()); err == nil && pid != os.Getpid() {
			add(filepath.Join("/proc", p.Name(), "ns/net"))
		}
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot list the mounts: %w", err)
	}
	defer mounts.Close()
	lines := bufio.NewScanner(mounts)
	lines.Buffer(nil, maxMount)
	for lines.Scan() {
		if path, ok := mountedNamespace(lines.Text()); ok {
			add(path)
		}
	}
	return found, lines.Err()
}

// maxMount is more than a line has, in bytes: an overlay names all its layers, and it may have 500.
const maxMount = 16 << 20

// mountedNamespace reads a line of /proc/PID/mountinfo (proc(5)): where a network namespace is mounted; false: the mount is another one.
func mountedNamespace(line string) (path string, ok bool) {
	const root, mountPoint = 3, 4
	fields := strings.Fields(line)
	if len(fields) <= mountPoint || !strings.HasPrefix(fields[root], "net:[") {
		return "", false
	}
	return unescape(fields[mountPoint]), true
}

// unescape resolves the octal escapes of blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
