package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// raiseOpenFiles allows this process and those that it starts as many files as the kernel lets us have, and returns how many.
func raiseOpenFiles() int {
	const enough = 1 << 20
	var l unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &l) // it can't fail
	for _, most := range []uint64{max(enough, l.Max), l.Max} {
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: most}) == nil {
			return int(min(most, enough))
		}
	}
	return int(l.Cur)
}

// openFiles is how many this process has open.
func openFiles() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(all)
}

// room says why a peer can't publish so many ports here, nil when it can: some reserve each on the host with a socket, which takes a file.
func (s *setting) room(p peer, ports int) error {
	const others = 1000
	if p.files == nil || p.files(ports)+others <= s.openFiles {
		return nil
	}
	return fmt.Errorf("each port is reserved with a socket, and a process may have %d files open here (ulimit -Hn)", s.openFiles)
}
