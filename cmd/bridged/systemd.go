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
	"github.com/bridged/bridged/docker"
)

// keptSocket is the name of the packet filter's socket in systemd's store (FDNAME of sd_pid_notify_with_fds(3)). The tables belong to
// that socket; while systemd has it, they are owned although there is no daemon.
//
// Nothing else is kept there. Reserved ports would be: one or two descriptors for each port, and a message to systemd with each that
// is published. What somebody else takes while there is no daemon stays published.
const keptSocket = "nftables"

// pluginSocket is the name of the socket for Docker's plugin calls (FileDescriptorName of systemd.socket(5)). The API's socket may have any other.
const pluginSocket = "docker-plugin"

// handed are the sockets that systemd hands to a daemon.
type handed struct {
	listeners
	kept *os.File // nil: there was no daemon before, or systemd did not keep it
}

// listeners are where a daemon is asked; nil: nowhere.
type listeners struct {
	api, plugin net.Listener
}

// takeHanded takes them: once in the life of a process.
func takeHanded() (h handed, err error) {
	for _, f := range activation.Files(true) {
		switch {
		case f.Name() == keptSocket && h.kept == nil:
			h.kept = f
			continue
		case f.Name() == keptSocket: // an older one
		case f.Name() == pluginSocket:
			err = take(&h.plugin, f)
		default:
			err = take(&h.api, f)
		}
		f.Close() // a listener has a descriptor of its own
		if err != nil {
			return h, err
		}
	}
	return h, nil
}

// take makes a listener of a socket of systemd's, unless there is one.
func take(l *net.Listener, f *os.File) error {
	if *l != nil {
		return bridged.Errorf(bridged.ErrInvalid, "systemd gives a second socket, with the name %q: want one for the API, and one with the name %s", f.Name(), pluginSocket)
	}
	made, err := net.FileListener(f)
	if err != nil || made.Addr().Network() != "unix" {
		return bridged.Errorf(bridged.ErrInvalid, "systemd gives a socket with the name %q that is no stream socket of the family AF_UNIX which listens", f.Name())
	}
	*l = made
	return nil
}

// listen completes systemd's sockets with those that the flags say.
func (l listeners) listen(f *daemonFlags) (_ listeners, err error) {
	if l.api == nil {
		if l.api, err = api.Listen(f.socket); err != nil {
			return l, err
		}
	}
	if l.plugin == nil && f.pluginSocket != "" {
		if l.plugin, err = docker.Listen(f.pluginSocket); err != nil {
			l.close()
			return l, err
		}
	}
	return l, nil
}

// close ends all of them.
func (l listeners) close() {
	for _, listener := range []net.Listener{l.api, l.plugin} {
		if listener != nil {
			_ = listener.Close() // closed already by who served it
		}
	}
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
