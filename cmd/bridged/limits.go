package main

import (
	"log/slog"

	"golang.org/x/sys/unix"
)

// fewOpenFiles is below what systemd gives a service (524,288), and above what a host with some hundred sandboxes needs.
const fewOpenFiles = 4096

// raiseOpenFiles lets the process open as many files as it ever may: a published port takes one in each address family. The rest is
// the administrator's decision.
func raiseOpenFiles(log *slog.Logger) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	if err == nil && l.Cur < l.Max {
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: l.Max, Max: l.Max})
	}
	switch {
	case err != nil:
		log.Warn("cannot raise the limit of open files; each published port takes one or two", "limit", l.Cur, "error", err)
	case l.Max < fewOpenFiles:
		log.Warn("few files can be open at a time, and each published port takes one or two; raise the hard limit (LimitNOFILE)", "limit", l.Max)
	}
}
