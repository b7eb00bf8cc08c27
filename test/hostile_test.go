package test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
)

const daemonSocket = "/run/bridged/bridged.sock"

// maxGrowth is how much memory the daemon may take for hostile clients, in KiB. It takes some 200 MiB.
const maxGrowth = 512 << 10

// knock opens n connections to the daemon, sends a text on each as far as it is taken at once, and leaves them open.
func (w *world) knock(t testing.TB, n int, text string) (leave func()) {
	t.Helper()
	var fds []int
	leave = func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
		fds = nil
	}
	err := w.host.Do(func() error {
		for range n {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			fds = append(fds, fd)
			// The time for connect(2), which waits while the queue is full.
			limit := unix.NsecToTimeval(flowtest.Patience.Nanoseconds())
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
				return err
			}
			err = unix.EINTR
			for err == unix.EINTR {
				err = unix.Connect(fd, &unix.SockaddrUnix{Name: daemonSocket})
			}
			if err != nil {
				return fmt.Errorf("connection %d: %w", len(fds), err)
			}
			if text == "" {
				continue
			}
			err = unix.Send(fd, []byte(text), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if err != nil && err != unix.EPIPE && err != unix.EAGAIN && err != unix.ECONNRESET {
				return err
			}
		}
		return nil
	})
	if err != nil {
		leave()
		t.Fatalf("cannot knock: %v", err)
	}
	return leave
}

// dialDaemon opens a connection to the daemon.
func (w *world) dialDaemon(t testing.TB) *net.UnixConn {
	t.Helper()
	var c net.Conn
	err := w.host.Do(func() (err error) {
		c, err = net.Dial("unix", daemonSocket)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(flowtest.Deadline())
	return c.(*net.UnixConn)
}

// memory is a line of the daemon's /proc/PID/status, in KiB.
func (d *daemon) memory(t testing.TB, line string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), line+":")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// spareFiles lets the test itself open many files.
func spareFiles(t testing.TB, n uint64) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if old.Cur >= n {
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: max(n, old.Max)}); err != nil {
		t.Fatalf("cannot open %d files: %v", n, err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &old) })
}

// passage is a connection from the LAN to a published port that is open all the time.
type passage struct {
	net.Conn
	r *bufio.Reader
	w *world
}

var throughPort = netip.AddrPortFrom(hostLAN4, 8080)

// passage publishes a server in a sandbox, and connects to it.
func (w *world) passage(t testing.TB) passage {
	t.Helper()
	flowtest.Serve(t, w.create("-p", "8080:80", "c1"), 80)
	c, err := flowtest.Dial(w.lan, "tcp", throughPort, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	f := passage{c, bufio.NewReader(c), w}
	c.SetDeadline(flowtest.Deadline())
	if _, err := f.r.ReadString('\n'); err != nil { // the server's greeting
		t.Fatal(err)
	}
	return f
}

// check ends the test unless the connection goes on, and another one can be made.
func (f passage) check(t testing.TB, when string) {
	t.Helper()
	f.SetDeadline(flowtest.Deadline())
	mark := flowtest.NewMark() + "\n"
	if _, err := io.WriteString(f, mark); err != nil {
		t.Fatalf("%s: the connection through the port broke: %v", when, err)
	}
	if echo, err := f.r.ReadString('\n'); err != nil || echo != mark {
		t.Fatalf("%s: the connection through the port answers %q, %v", when, echo, err)
	}
	if _, err := flowtest.Ask(f.w.lan, "tcp", throughPort); err != nil {
		t.Fatalf("%s: a new connection to the port: %v", when, err)
	}
}

// post is a request with a JSON body that may be incomplete.
func post(path, body string, length int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, length, body)
}

// Hostile clients, more than are let in: beside each kind packets flow, other clients are served, and memory is bounded.
func TestHostileClients(t *testing.T) {
	spareFiles(t, 16<<10)
	w := newWorld(t)
	d := w.daemon()
	f := w.passage(t)
	before := d.memory(t, "VmRSS")
	const create = "/networks/create"
	for _, c := range []struct {
		name string
		n    int
		text string
	}{
		{"idle connections", 10_000, ""},
		{"half a header", 700, "GET /networks HTTP/1.1\r\nHost: x\r\nX-"},
		{"a huge header", 700, "GET /networks HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 11<<10)},
		{"many headers", 700, "GET /networks HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a:\r\n", 11<<8)},
		{"half a body", 700, post(create, `{"Name": "`, 1000)},
		{"half a body that is not wanted", 700, post("/networks", `{"Name": "`, 1000)},
		{"half a large body", 700, post(create, `{"Name": "`+strings.Repeat("n", 100<<10), 1<<20)},
		{"a body that is too large", 700, post(create, strings.Repeat("n", 100<<10), 1<<40)},
		{"deep nesting", 700, post(create, strings.Repeat(`{"IPAM":`, 12<<10), 96<<10)},
		{"many values", 700, post(create, `{"Labels": [`+strings.Repeat("{},", 32<<10)+`{}]}`, 96<<10+18)},
		{"questions whose answers nobody reads", 700, strings.Repeat("GET /networks HTTP/1.1\r\nHost: x\r\n\r\n", 2000)},
		{"who wait", 700, "GET /bridged/v1/status?wait=24h HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"garbage", 700, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00\xff\r\n", 1000)},
	} {
		leave := w.knock(t, c.n, c.text)
		f.check(t, c.name)
		w.bridged("status")
		w.bridged("sandbox", "create", "-p", "9000:80", "good")
		w.bridged("sandbox", "rm", "good")
		f.check(t, c.name)
		now, peak := d.memory(t, "VmRSS"), d.memory(t, "VmHWM")
		t.Logf("%d clients with %s: memory %d MiB, at most %d MiB so far, before %d MiB", c.n, c.name, now>>10, peak>>10, before>>10)
		if peak > before+maxGrowth && os.Getenv("BRIDGED_TEST_RACE") != "1" { // the race detector takes several times as much
			t.Errorf("%s: the daemon took %d KiB of memory, %d KiB before", c.name, peak, before)
		}
		leave()
	}
	w.consistent(t)
	d.Stop()
}

// What is no request is answered as such, at once, and a request behind an answer is answered in its turn.
func TestGarbage(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	random := make([]byte, 4096)
	source := rand.NewChaCha8([32]byte{})
	source.Read(random)
	for name, c := range map[string]struct{ text, status string }{
		"TLS":               {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},
		"random bytes":      {string(random) + "\r\n\r\n", "400"},
		"zeros":             {strings.Repeat("\x00", 128<<10), "431"},
		"HTTP/2":            {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "404"},
		"HTTP/0.9":          {"GET /networks\r\n\r\n", "400"},
		"no host":           {"GET /networks HTTP/1.1\r\n\r\n", "400"},
		"a bad length":      {"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"},
		"two lengths":       {"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "400"},
		"a bad encoding":    {"POST /networks/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: rot13\r\n\r\n{}", "501"},
		"a bad chunk":       {"POST /networks/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400"},
		"a huge header":     {"GET /networks HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", "431"},
		"a huge path":       {"GET /" + strings.Repeat("x", 80<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "431"},
		"all of it":         {"OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "404"},
		"a proxy's request": {"CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n", "404"},
		"deep nesting":      {post("/networks/create", strings.Repeat("[", 64<<10), 64<<10), "400"},
		"a huge body":       {post("/networks/create", "{", 1<<40), "400"},
		"an unwanted body":  {post("/networks", "{", 1000), "405"},
		"control":           {"GET /networks HTTP/1.1\r\nHost: x\r\n\r\n", "200"},
	} {
		c.text = strings.Clone(c.text)
		conn := w.dialDaemon(t)
		conn.SetDeadline(time.Now().Add(flowtest.Patience / 2)) // less than a slow client is waited for
		go io.WriteString(conn, c.text)                         // what is too long may not be taken
		line, err := bufio.NewReader(conn).ReadString('\n')
		if want := "HTTP/1.1 " + c.status + " "; err != nil || !strings.HasPrefix(line, want) {
			t.Errorf("%s: the answer is %q, %v, want %s", name, line, err, want)
		}
		conn.Close()
	}
	const n = 1000
	conn := w.dialDaemon(t)
	go io.WriteString(conn, strings.Repeat("GET /bridged/v1/version HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", n/2))
	r := bufio.NewReader(conn)
	for i := range n {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d of %d: %v", i, n, err)
		}
		if want := []int{200, 404}[i%2]; resp.StatusCode != want {
			t.Errorf("answer %d: %s, want %d", i, resp.Status, want)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// Clients that go away in the middle: what was asked for completely is done, what was not is not, and nothing is left over.
func TestVanishingClients(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6")
	w.firstPorts(t, d, 2, "-p", "80")
	before := d.files(t)
	const n = 20
	for i := range n {
		request := func(name string) string {
			body := fmt.Sprintf(`{"Name": %q, "Ports": ["%d:80"]}`, name, 9000+i)
			return post("/bridged/v1/sandboxes", body, len(body))
		}
		half := request(fmt.Sprintf("half%d", i))
		conn := w.dialDaemon(t)
		io.WriteString(conn, half[:1+rand.IntN(len(half)-1)])
		conn.Close()
		conn = w.dialDaemon(t)
		io.WriteString(conn, request(fmt.Sprintf("whole%d", i)))
		switch i % 3 {
		case 0:
			conn.Close() // before the answer
		case 1:
			conn.CloseWrite() // it reads on
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusCreated {
				t.Errorf("whole%d, half closed: %v, %v", i, resp, err)
			}
		case 2:
			io.ReadFull(conn, make([]byte, 1)) // in the answer
			conn.Close()
		}
	}
	sandboxes := func() (names []string) {
		for _, s := range decode[[]sandboxJSON](w, "sandbox", "ls", "--json") {
			names = append(names, s.Name)
		}
		return names
	}
	w.await(t, "the requests of clients that went away", func() bool { return len(sandboxes()) == n })
	if text := strings.Join(sandboxes(), " "); strings.Contains(text, "half") {
		t.Errorf("half a request was done: %s", text)
	}
	w.consistent(t)
	for i := range n {
		conn := w.dialDaemon(t)
		io.WriteString(conn, fmt.Sprintf("DELETE /bridged/v1/sandboxes/whole%d HTTP/1.1\r\nHost: x\r\n\r\n", i))
		conn.Close()
	}
	w.await(t, "the removals", func() bool { return len(sandboxes()) == 0 })
	w.consistent(t)
	for end := flowtest.Deadline(); d.files(t) > before; { // connections, and what is done behind the answers, may just be closing
		if time.Now().After(end) {
			t.Fatalf("the daemon has %d files open, %d before", d.files(t), before)
		}
	}
}

// files is how many files the daemon has open.
func (d *daemon) files(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// limitFiles sets how many files the daemon may have open; 0 is as many as before.
func (d *daemon) limitFiles(t testing.TB, n int) {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Prlimit(d.Cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &l); err != nil {
		t.Fatal(err)
	}
	l.Cur = l.Max
	if n > 0 {
		l.Cur = uint64(n)
	}
	if err := unix.Prlimit(d.Cmd.Process.Pid, unix.RLIMIT_NOFILE, &l, nil); err != nil {
		t.Fatal(err)
	}
}

// Without file descriptors: what needs one fails, says what to raise, and leaves nothing; what there is goes on; when there are some
// again, all is well.
func TestFewDescriptors(t *testing.T) {
	spareFiles(t, 4<<10)
	w := newWorld(t)
	d := w.daemon()
	f := w.passage(t)
	const raise = "LimitNOFILE"

	// Ports take many. They leave enough for other things.
	d.limitFiles(t, 128)
	w.fails(69, []string{raise, "Bind for 0.0.0.0:90"}, "port", "add", "c1", "9000-9199:9000-9199")
	w.fails(69, []string{raise}, "sandbox", "create", "-p", "9000-9199:9000-9199", "c2")
	w.consistent(t)
	w.bridged("port", "add", "c1", "9000-9009:9000-9009")
	w.create("c2")
	w.bridged("sandbox", "rm", "c2")
	w.consistent(t)
	f.check(t, "few descriptors")

	// So do connections. They give way.
	leave := w.knock(t, 1000, "")
	w.create("c2")
	w.bridged("sandbox", "rm", "c2")
	f.check(t, "idle connections take the descriptors")
	leave()
	w.consistent(t)

	// None at all, but the one that is kept to answer clients, when what was just closing and what is kept for the next ports is used up.
	w.exhaust(t, d, "c1")
	w.consistent(t)
	for range 3 {
		if s := decode[statusJSON](w, "status", "--json"); !s.Ready {
			t.Errorf("status without descriptors: %+v", s)
		}
		w.fails(69, []string{raise}, "sandbox", "create", "c3")
		w.fails(69, []string{raise}, "port", "add", "c1", "9999:9999")
		f.check(t, "no descriptors")
	}
	leave = w.knock(t, 500, "GET /networks HTTP/1.1\r\n")
	w.bridged("sandbox", "ls")
	leave()
	w.bridged("port", "rm", "c1", "9000:9000")
	f.check(t, "no descriptors")

	// Not even that one: who comes now waits, and the daemon does not spin.
	d.limitFiles(t, 3)
	late := w.dialDaemon(t)
	io.WriteString(late, post("/bridged/v1/sandboxes", `{"Name":"late"}`, 15))
	began, used := time.Now(), d.cpu(t)
	for range 200 {
		f.check(t, "nothing at all")
	}
	if used, took := d.cpu(t)-used, time.Since(began); used > 50*time.Millisecond && used > took/4 {
		t.Errorf("the daemon used %s of a processor in %s, and had nothing to do", used, took)
	}
	d.limitFiles(t, 0)
	if resp, err := http.ReadResponse(bufio.NewReader(late), nil); err != nil || resp.StatusCode != http.StatusCreated {
		t.Errorf("a client that waited while there were no descriptors: %v, %v", resp, err)
	}
	w.bridged("port", "add", "c1", "9100-9199:9100-9199")
	w.create("c3")
	w.consistent(t)
	f.check(t, "afterwards")
	if log := d.Log.String(); strings.Contains(log, "panic") || strings.Count(log, "\n") > 100 {
		t.Errorf("the log is long:\n%s", log)
	}
}

// exhaust leaves the daemon no descriptor. It publishes ports until there is no socket for another.
func (w *world) exhaust(t testing.TB, d *daemon, sandbox string) {
	t.Helper()
	// A port that is published again waits for the purge behind its end, and so for all before it: none of them gives a descriptor back later.
	w.bridged("port", "add", sandbox, "9799:9799")
	w.bridged("port", "rm", sandbox, "9799:9799")
	w.bridged("port", "add", sandbox, "9799:9799")
	limit := 0
	for port := 9800; ; port++ {
		if kept := d.unbound(t); kept > 16 {
			t.Fatalf("%d sockets are kept for ports of one kind", kept)
		}
		limit = d.files(t)
		d.limitFiles(t, limit)
		r := w.try("port", "add", sandbox, fmt.Sprintf("%d:%d", port, port))
		switch {
		case r.code == 69 && d.unbound(t) == 0 && d.files(t) == limit:
			return
		case port > 9899:
			t.Fatalf("a hundred ports were published without a descriptor: %v", r)
		}
	}
}

// cpu is how much time of processors the daemon has taken.
func (d *daemon) cpu(t testing.TB) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.Cmd.Process.Pid))
	_, rest, found := bytes.Cut(text, []byte(") "))
	fields := strings.Fields(string(rest))
	if err != nil || !found || len(fields) < 13 {
		t.Fatal(errors.Join(err, fmt.Errorf("cannot read %q", text)))
	}
	var ticks int
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}
