package test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
)

// manager stands in for systemd. It listens on the daemon's socket, keeps what a daemon gives it, and hands both to the next one, as
// sd_listen_fds(3) and sd_pid_notify_with_fds(3) say.
type manager struct {
	w        *world
	program  string
	path     string // of the daemon's socket
	listener *os.File
	notify   *net.UnixConn
	words    chan string // what the daemon tells, but for what is to be kept

	mu   sync.Mutex
	kept map[string]*os.File
}

func (w *world) manager() *manager {
	w.t.Helper()
	m := &manager{w: w, program: program, path: "/run/bridged/bridged.sock", words: make(chan string, 64), kept: make(map[string]*os.File)}
	err := w.host.Do(func() error {
		if err := os.MkdirAll(filepath.Dir(m.path), 0o755); err != nil {
			return err
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: m.path, Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		defer l.Close()
		m.listener, err = l.File()
		return err
	})
	if err == nil {
		m.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(w.dir, "notify"), Net: "unixgram"})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); m.listen() }()
	w.t.Cleanup(func() {
		m.notify.Close()
		<-ended
		m.listener.Close()
		for name := range m.kept {
			m.keep(name, nil)
		}
	})
	return m
}

// listen hears what daemons tell, until the manager is closed.
func (m *manager) listen() {
	text, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*16))
	for {
		n, oobn, _, _, err := m.notify.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		word := make(map[string]string)
		for line := range strings.Lines(string(text[:n])) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			word[key] = value
		}
		files := received(rights[:oobn])
		switch {
		case word["FDSTORE"] == "1" && len(files) == 1 && word["FDPOLL"] == "0":
			m.keep(word["FDNAME"], files[0])
		case word["FDSTOREREMOVE"] == "1" && len(files) == 0:
			m.keep(word["FDNAME"], nil)
		default:
			m.words <- string(text[:n])
		}
	}
}

// received are the files that came with a message.
func received(rights []byte) (files []*os.File) {
	messages, _ := unix.ParseSocketControlMessage(rights)
	for _, message := range messages {
		fds, _ := unix.ParseUnixRights(&message)
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "kept"))
		}
	}
	return files
}

// keep has a file in the store under its name, or none.
func (m *manager) keep(name string, f *os.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.kept[name]; old != nil {
		old.Close()
	}
	if delete(m.kept, name); f != nil {
		m.kept[name] = f
	}
}

// start starts a daemon and waits until it says that it is ready.
func (m *manager) start(flags ...string) *daemon {
	m.w.t.Helper()
	args := []string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, m.program, "daemon", "--state-dir", m.w.dir}
	cmd := exec.Command("sh", append(args, flags...)...)
	cmd.ExtraFiles = []*os.File{m.listener}
	names := []string{"bridged.socket"}
	for name, fd := range m.copies() {
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		cmd.ExtraFiles, names = append(cmd.ExtraFiles, f), append(names, name)
	}
	cmd.Env = []string{"NOTIFY_SOCKET=" + m.notify.LocalAddr().String(),
		fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}
	d := m.w.launch(cmd)
	for {
		select {
		case word := <-m.words:
			if word == "READY=1" {
				return d
			}
		case <-d.Ended:
			m.w.t.Fatalf("the daemon ended at once: %v\n%s", d.Cmd.ProcessState, d.Log.String())
		case <-time.After(flowtest.Patience):
			m.w.t.Fatalf("the daemon does not get ready:\n%s", d.Log.String())
		}
	}
}

// copies are further descriptors of what is kept.
func (m *manager) copies() map[string]int {
	m.w.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]int)
	for name, f := range m.kept {
		raw, err := f.SyscallConn() // Fd would make it block, for the daemon too
		fd := -1
		if err == nil {
			if e := raw.Control(func(kept uintptr) { fd, err = unix.FcntlInt(kept, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
				err = e
			}
		}
		if err != nil {
			m.w.t.Fatal(err)
		}
		all[name] = fd
	}
	return all
}

// identity tells the file that is kept from others; 0: there is none.
func (m *manager) identity(name string) (inode uint64) {
	m.w.t.Helper()
	for n, fd := range m.copies() {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			m.w.t.Fatal(err)
		}
		if unix.Close(fd); n == name {
			inode = st.Ino
		}
	}
	return inode
}

// ask sends a question to whoever will accept it; the function waits for the answer.
func (m *manager) ask() (answer func() (int, error)) {
	m.w.t.Helper()
	var conn net.Conn
	err := m.w.host.Do(func() (err error) {
		conn, err = net.Dial("unix", m.path)
		return err
	})
	if err == nil {
		_, err = conn.Write([]byte("GET /bridged/v1/status?wait=10s HTTP/1.1\r\nHost: bridged\r\n\r\n"))
	}
	if err != nil {
		m.w.t.Fatalf("nobody listens: %v", err)
	}
	return func() (int, error) {
		defer conn.Close()
		if err := conn.SetReadDeadline(time.Now().Add(flowtest.Patience)); err != nil {
			return 0, err
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
}

// deleteTable is another process that tries to delete one of our tables: EPERM when it is owned.
func (w *world) deleteTable() error {
	return w.host.Do(func() error {
		out, err := exec.Command("nft", "delete", "table", "inet", "bridged").CombinedOutput()
		switch {
		case err == nil:
			return nil
		case strings.Contains(string(out), "Operation not permitted"):
			return unix.EPERM
		}
		return fmt.Errorf("%w: %s", err, out)
	})
}

// Under systemd the tables have an owner at every instant, also while there is no daemon, whether it stopped or was killed; a start writes
// nothing. Requests that come meanwhile wait and are answered.
func TestHandOver(t *testing.T) {
	w := newWorld(t)
	m := w.manager()
	d := m.start("--ipv6")
	socket := m.identity("nftables")
	if socket == 0 {
		t.Fatal("the daemon gave no socket to be kept")
	}
	c1 := w.member("c1", "bridge", "-p", "8080:80")
	flowtest.Serve(t, c1.Space, 80)
	g := w.generations()

	var vandal sync.WaitGroup
	ended, attempts := make(chan struct{}), 0
	vandal.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			if err := w.deleteTable(); !errors.Is(err, unix.EPERM) {
				t.Errorf("another process deletes the table: %v", err)
				return
			}
			attempts++
		}
	})
	for round, end := range []func(*daemon){(*daemon).Stop, (*daemon).Kill, (*daemon).Kill, (*daemon).Stop, (*daemon).Stop} {
		end(d)
		if err := w.deleteTable(); !errors.Is(err, unix.EPERM) {
			t.Errorf("round %d, there is no daemon: another process deletes the table: %v", round, err)
		}
		flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "c1")
		answer := m.ask()
		d = m.start("--ipv6")
		if code, err := answer(); code != http.StatusOK {
			t.Errorf("round %d: a request from before the start: status %d, %v", round, code, err)
		}
		if m.identity("nftables") != socket {
			t.Errorf("round %d: another socket is kept", round)
		}
		if all := g.take(t); len(all) != 0 {
			t.Errorf("round %d: the start made %d transactions: %v", round, len(all), all)
		}
	}
	close(ended)
	vandal.Wait()
	if attempts == 0 {
		t.Error("nobody tried")
	}
	status := decode[statusJSON](w, "status", "--json")
	if status.Protection != "owner+persist" || status.Repairs != 0 || len(status.Warnings) > 0 {
		t.Errorf("status: %+v", status)
	}
	w.settled()

	// Without somebody who keeps the socket, anybody can delete the table while there is no daemon.
	d.Stop()
	m.keep("nftables", nil)
	if err := w.deleteTable(); err != nil {
		t.Errorf("nobody keeps the socket: %v", err)
	}
	m.start("--ipv6")
	w.settled()
}

// What is handed on and can't be the packet filter's socket is refused with a warning; the daemon makes another one, which is kept instead.
func TestUnfitHandOver(t *testing.T) {
	w := newWorld(t)
	m := w.manager()
	socket := func(in *flowtest.Space, family, kind, proto int, setUp func(fd int) error) *os.File {
		t.Helper()
		var fd int
		err := in.Do(func() (err error) {
			if fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto); err != nil || setUp == nil {
				return err
			}
			return setUp(fd)
		})
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), "unfit")
	}
	bind := func(fd int) error { return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) }
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		file *os.File
		says string
	}{
		{"a file", null, "it is not a netlink socket"},
		{"of another family", socket(w.host, unix.AF_INET, unix.SOCK_DGRAM, 0, nil), "it is not a netlink socket"},
		{"of another protocol", socket(w.host, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE, bind), "it is not a netfilter socket"},
		{"not bound", socket(w.host, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, nil), "it is not bound"},
		{"of another namespace", socket(w.lan, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, bind), "it belongs to another network namespace"},
		{"with rubbish", socket(w.host, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, rubbish), ""},
	} {
		m.keep("nftables", tt.file)
		unfit := m.identity("nftables")
		d := m.start()
		warnings := strings.Join(decode[statusJSON](w, "status", "--json").Warnings, "\n")
		if tt.says == "" && warnings != "" || !strings.Contains(warnings, tt.says) {
			t.Errorf("%s: warnings %q, want %q", tt.name, warnings, tt.says)
		}
		if kept := m.identity("nftables"); kept == 0 || (kept == unfit) != (tt.says == "") {
			t.Errorf("%s: kept is %d, handed on was %d", tt.name, kept, unfit)
		}
		w.create("-p", "8080:80", "c1")
		w.bridged("sandbox", "rm", "c1")
		d.Stop()
		if err := w.deleteTable(); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: afterwards another process deletes the table: %v", tt.name, err)
		}
		m.keep("nftables", nil) // or the next one would find the tables owned
	}
}

// rubbish makes a socket that has asked and not read the answers.
func rubbish(fd int) error {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	question := []byte{20, 0, 0, 0, unix.NFT_MSG_GETGEN, unix.NFNL_SUBSYS_NFTABLES, unix.NLM_F_REQUEST, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for range 100 {
		if err := unix.Sendto(fd, question, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
	}
	return nil
}

// Tables of a socket that is handed on are ours whatever the protection is from now on.
func TestHandOverToAnotherProtection(t *testing.T) {
	w := newWorld(t)
	m := w.manager()
	for i, protection := range []string{"owner+persist", "monitor", "monitor", "owner+persist"} {
		d := m.start("--protection", protection)
		if i == 0 {
			flowtest.Serve(t, w.member("c1", "bridge", "-p", "8080:80").Space, 80)
		}
		if status := decode[statusJSON](w, "status", "--json"); status.Protection != protection || len(status.Warnings) > 0 {
			t.Errorf("with %s: %+v", protection, status)
		}
		w.settled()
		flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "c1")
		d.Stop()
		owned := errors.Is(w.deleteTable(), unix.EPERM)
		if want := protection == "owner+persist"; owned != want {
			t.Errorf("after %s the table is owned: %t", protection, owned)
		}
	}
}
