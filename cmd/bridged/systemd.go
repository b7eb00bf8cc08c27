package main

import (
	"errors"
	"log/slog"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/api"
)

// keptSocket is the name of the packet filter's socket in systemd's store (FDNAME of sd_pid_notify_with_fds(3)). The tables belong to
// that socket; while systemd has it, they are owned although there is no daemon.
//
// Nothing else is kept there. Reserved ports would be: one or two descriptors for each port, and a message to systemd with each that
// is published. What somebody else takes while there is no daemon stays published.
const keptSocket = "nftables"

// handed are the sockets that systemd hands to a daemon.
type handed struct {
	listener net.Listener // nil: it listens on none for us
	kept     *os.File     // nil: there was no daemon before, or systemd did not keep it
}

// takeHanded takes them: once in the life of a process.
func takeHanded() (handed, error) {
	var h handed
	var others []*os.File
	for _, f := range activation.Files(true) {
		switch {
		case f.Name() != keptSocket:
			others = append(others, f)
		case h.kept == nil:
			h.kept = f
		default: // an older one
			f.Close()
		}
	}
	if len(others) == 0 {
		return h, nil
	}
	if len(others) == 1 {
		var err error
		if h.listener, err = net.FileListener(others[0]); err == nil && h.listener.Addr().Network() == "unix" {
			others[0].Close() // the listener has a descriptor of its own
			return h, nil
		}
	}
	return h, bridged.Errorf(bridged.ErrInvalid, "systemd gives %d sockets: want one, a stream socket of the family AF_UNIX", len(others))
}

// listen is systemd's socket, else one at path.
func (h handed) listen(path string) (net.Listener, error) {
	if h.listener != nil {
		return h.listener, nil
	}
	return api.Listen(path)
}

// notify tells systemd, when it is there.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot notify systemd", "state", state, "error", err)
	}
}

// keep has systemd keep the packet filter's socket for the next daemon, in the place of the one that it has; nil: of none.
func keep(log *slog.Logger) func(*os.File) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	return func(socket *os.File) {
		err := tell(path, "FDSTOREREMOVE=1\nFDNAME="+keptSocket, nil)
		if err == nil && socket != nil {
			// FDPOLL: a lost answer is an error of the socket, and no reason to throw it away.
			err = tell(path, "FDSTORE=1\nFDNAME="+keptSocket+"\nFDPOLL=0", socket)
		}
		if err != nil {
			log.Warn("systemd does not keep the packet filter's socket: between a stop and a start its tables are nobody's", "error", err)
		}
	}
}

// tell sends systemd a message with a file, unless that is nil.
func tell(path, state string, file *os.File) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	send := func(rights []byte) error {
		return unix.Sendmsg(fd, []byte(state), rights, &unix.SockaddrUnix{Name: path}, 0)
	}
	if file == nil {
		return send(nil)
	}
	raw, err := file.SyscallConn() // Fd would make the socket one that blocks, for everybody who has it
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(kept uintptr) { sendErr = send(unix.UnixRights(int(kept))) })
	return errors.Join(err, sendErr)
}
