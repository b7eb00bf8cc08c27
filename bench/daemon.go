package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/client"
)

// daemon is a running `bridged daemon`.
type daemon struct {
	cmd    *exec.Cmd
	log    bytes.Buffer
	client *client.Client
}

// readiness is how long a daemon may take to be ready.
const readiness = 30 * time.Second

// startDaemon starts the daemon in a namespace, with its socket and its state in dir, and waits until it is ready.
func startDaemon(s *setting, host *space, dir string) (*daemon, error) {
	d := &daemon{cmd: exec.Command(s.daemon, "daemon",
		"--socket", socketIn(dir), "--run-dir", dir+"/run", "--state-dir", dir+"/state", "--bridge-name", bridgeName, "--bip", bridgeAddr.String())}
	notices, err := listenNotices(dir + "/notify")
	if err != nil {
		return nil, err
	}
	defer notices.Close()
	d.cmd.Env = []string{"PATH=", "NOTIFY_SOCKET=" + dir + "/notify"}
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := host.do(d.cmd.Start); err != nil {
		return nil, fmt.Errorf("cannot start the daemon: %w", err)
	}
	if err = awaitReady(notices); err == nil {
		d.client, err = client.Dial("unix://" + socketIn(dir))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the daemon does not get ready: %w", err), d.stop(), errors.New(d.log.String()))
	}
	return d, nil
}

// listenNotices opens the socket that a daemon says on when it is ready (sd_notify(3)): to ask for that again and again would have the time only
// roughly, and take a processor from the start.
func listenNotices(path string) (*net.UnixConn, error) {
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	return net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
}

// awaitReady reads notices until one says that the daemon is ready.
func awaitReady(notices *net.UnixConn) error {
	if err := notices.SetReadDeadline(time.Now().Add(readiness)); err != nil {
		return err
	}
	for text := make([]byte, 4096); ; {
		n, err := notices.Read(text)
		if err != nil {
			return err
		}
		if slices.Contains(strings.Split(string(text[:n]), "\n"), "READY=1") {
			return nil
		}
	}
}

func socketIn(dir string) string { return dir + "/socket" }

// stop ends the daemon; what it made stays.
func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	if err := d.cmd.Wait(); err != nil {
		return fmt.Errorf("the daemon: %w\n%s", err, strings.TrimSpace(d.log.String()))
	}
	return nil
}

// findDaemon is find of what needs the daemon.
func findDaemon(s *setting) (string, error) {
	if s.daemon == "" {
		return "", errors.New(s.daemonMissing)
	}
	out, err := exec.Command(s.daemon, "version").Output()
	if err != nil {
		return "", fmt.Errorf("the daemon does not start: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// tempDir is a directory that goes with our mounts.
func tempDir(name string) (string, error) { return os.MkdirTemp("/run", name+"-") }
