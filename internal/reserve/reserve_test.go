package reserve

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/nstest"
)

const (
	tcp  = uint8(bridged.TCP)
	udp  = uint8(bridged.UDP)
	sctp = uint8(bridged.SCTP)
)

// host is a namespace whose loopback is up.
func host(t testing.TB) nstest.NS {
	t.Helper()
	ns := nstest.New(t)
	ns.Run("ip link set lo up")
	return ns
}

func port(addr string, proto uint8) Port { return Port{netip.MustParseAddr(addr), proto, 8080} }

func mustBind(t testing.TB, p Port) *Socket {
	t.Helper()
	s, err := Bind(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// other is a socket as another program would make it: bound to the address, IPv6 for both families when dual.
type other struct {
	addr   string
	dual   bool
	option int // SO_REUSEADDR, SO_REUSEPORT, or 0
	device string
}

func (o other) String() string {
	return fmt.Sprintf("%s dual=%v option=%d device=%q", o.addr, o.dual, o.option, o.device)
}

func (o other) bind(t testing.TB, proto uint8) (fd int, err error) {
	t.Helper()
	p := port(o.addr, proto)
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(p.Port), Addr: [4]byte(p.Addr.AsSlice())}
	if p.Addr.Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(p.Port), Addr: p.Addr.As16()}
	}
	if proto == udp {
		kind = unix.SOCK_DGRAM
	}
	fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, int(proto))
	if err != nil {
		t.Fatal(err)
	}
	set := func(level, option, value int) {
		if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
			t.Fatal(err)
		}
	}
	if p.Addr.Is6() && !o.dual {
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if o.option != 0 {
		set(unix.SOL_SOCKET, o.option, 1)
	}
	if o.device != "" {
		if err := unix.BindToDevice(fd, o.device); err != nil {
			t.Fatal(err)
		}
	}
	err = unix.Bind(fd, sa)
	if err == nil && proto == tcp {
		err = unix.Listen(fd, 1)
	}
	return fd, err
}

func TestOthersGetAddressInUse(t *testing.T) {
	for _, proto := range []uint8{tcp, udp} {
		for _, tt := range []struct {
			held         string
			taken, freed []other
		}{
			{
				"0.0.0.0",
				[]other{
					{addr: "0.0.0.0"}, {addr: "127.0.0.1"}, {addr: "127.0.0.2"}, {addr: "::", dual: true},
					{addr: "0.0.0.0", option: unix.SO_REUSEADDR}, {addr: "127.0.0.1", option: unix.SO_REUSEADDR},
					{addr: "0.0.0.0", option: unix.SO_REUSEPORT}, {addr: "127.0.0.1", option: unix.SO_REUSEPORT},
				},
				[]other{{addr: "::"}, {addr: "::1"}},
			},
			{
				"::",
				[]other{
					{addr: "::"}, {addr: "::1"}, {addr: "::", dual: true},
					{addr: "::", option: unix.SO_REUSEADDR}, {addr: "::1", option: unix.SO_REUSEADDR}, {addr: "::", option: unix.SO_REUSEPORT},
				},
				[]other{{addr: "0.0.0.0"}, {addr: "127.0.0.1"}},
			},
			{
				"127.0.0.1",
				[]other{{addr: "0.0.0.0"}, {addr: "127.0.0.1"}, {addr: "::", dual: true}, {addr: "127.0.0.1", option: unix.SO_REUSEADDR}},
				[]other{{addr: "127.0.0.2"}, {addr: "::"}},
			},
			{
				"::1",
				[]other{{addr: "::"}, {addr: "::1"}, {addr: "::", dual: true}, {addr: "::1", option: unix.SO_REUSEADDR}},
				[]other{{addr: "0.0.0.0"}},
			},
		} {
			ns := host(t)
			ns.Do(func() {
				p := port(tt.held, proto)
				s := mustBind(t, p)
				check := func(o other, want error) {
					t.Helper()
					fd, err := o.bind(t, proto)
					defer unix.Close(fd)
					if !errors.Is(err, want) || (err == nil) != (want == nil) {
						t.Errorf("%s held, %s: %v, want %v", p, o, err, want)
					}
				}
				for _, o := range tt.taken {
					check(o, unix.EADDRINUSE)
				}
				for _, o := range tt.freed {
					check(o, nil)
				}
				for range 2 {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}
				for _, o := range tt.taken {
					check(o, nil)
				}
			})
		}
	}
}

// Of sockets that others have tied to an interface ours is not in the way for UDP, and they are in ours.
func TestTiedToAnInterface(t *testing.T) {
	ns := host(t)
	ns.Do(func() {
		for _, proto := range []uint8{tcp, udp} {
			fd, err := other{addr: "0.0.0.0", device: "lo"}.bind(t, proto)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Bind(port("0.0.0.0", proto)); !errors.Is(err, bridged.ErrConflict) {
				t.Errorf("protocol %d, beside a socket that is tied to lo: %v", proto, err)
			}
			unix.Close(fd)
		}
	})
}

// here runs a function where the caller is.
func here(f func() error) error { return f() }

// TestStock: a socket of the stock holds a port where it was made, from wherever it is bound, as one of Bind does.
func TestStock(t *testing.T) {
	home, elsewhere := host(t), host(t)
	for _, proto := range []uint8{tcp, udp} {
		for _, addr := range []string{"0.0.0.0", "127.0.0.1", "::", "::1"} {
			var stock Stock
			p := port(addr, proto)
			if s := stock.Bind(p); s != nil {
				t.Fatal("an empty stock has a socket")
			}
			home.Do(func() {
				if stock.Refill(p); stock.sockets != nil {
					t.Fatal("a stock has sockets that were never asked for")
				}
				first := p
				first.Port--
				s, err := stock.Make(first, here)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			var s *Socket
			elsewhere.Do(func() { s = stock.Bind(p) })
			if s == nil {
				t.Fatalf("%s is not held", p)
			}
			for _, space := range []struct {
				ns   nstest.NS
				want error
			}{{home, unix.EADDRINUSE}, {elsewhere, nil}} {
				space.ns.Do(func() {
					fd, err := other{addr: addr}.bind(t, proto)
					defer unix.Close(fd)
					if !errors.Is(err, space.want) || (err == nil) != (space.want == nil) {
						t.Errorf("%s held, another's: %v, want %v", p, err, space.want)
					}
				})
			}
			home.Do(func() {
				if err := probe(t, p); err != unix.ECONNREFUSED {
					t.Errorf("%s: %v, want %v", p, err, unix.ECONNREFUSED)
				}
			})
			if again := stock.Bind(p); again != nil {
				t.Errorf("%s is held twice", p)
			}
			held := []*Socket{s}
			for more := p; held[len(held)-1] != nil; {
				more.Port++
				held = append(held, stock.Bind(more))
			}
			if got, want := len(held)-2, stocked-2; got != want {
				t.Errorf("the stock has sockets for %d ports more, want %d", got, want)
			}
			home.Do(func() { stock.Refill(p) })
			if s := stock.Bind(Port{p.Addr, p.Proto, 1}); s == nil {
				t.Errorf("the stock for %s was not filled again", p)
			} else {
				held = append(held[:len(held)-1], s, nil)
			}
			stock.Close()
			for _, s := range held[:len(held)-1] {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestStockWithoutProtocol: what nobody can have is reserved without a socket, and none is kept for the next.
func TestStockWithoutProtocol(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, int(sctp))
	if err == nil {
		unix.Close(fd)
		t.Skip("this kernel has SCTP")
	}
	host(t).Do(func() {
		var stock Stock
		p := port("0.0.0.0", sctp)
		s, err := stock.Make(p, here)
		if err != nil || s.open {
			t.Fatalf("reserving %s: %+v, %v", p, s, err)
		}
		if stock.Refill(p); len(stock.sockets) > 0 {
			t.Errorf("the stock has %v", stock.sockets)
		}
	})
}

// probe sends a byte to the port and returns the host's answer.
func probe(t testing.TB, p Port) error {
	t.Helper()
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(p.Port), Addr: [4]byte{127, 0, 0, 1}}
	if p.Addr.Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(p.Port), Addr: [16]byte{15: 1}}
	}
	if p.Proto == udp {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sa); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte{1}); err != nil {
		return err
	}
	// On the loopback the answer is there when write returns.
	_, _, err = unix.Recvfrom(fd, make([]byte, 1), unix.MSG_DONTWAIT)
	return err
}

func TestPacketsAreRefusedAtOnce(t *testing.T) {
	ns := host(t)
	ns.Do(func() {
		for _, proto := range []uint8{tcp, udp} {
			for _, addr := range []string{"0.0.0.0", "127.0.0.1", "::", "::1"} {
				p := port(addr, proto)
				s := mustBind(t, p)
				if err := probe(t, p); err != unix.ECONNREFUSED {
					t.Errorf("%s: %v, want %v", p, err, unix.ECONNREFUSED)
				}
				s.Close()
				// The control: a socket that is not ours swallows it.
				fd, err := other{addr: addr}.bind(t, proto)
				if err != nil {
					t.Fatal(err)
				}
				if err := probe(t, p); err != unix.EAGAIN {
					t.Errorf("%s, bound plainly: %v, want %v", p, err, unix.EAGAIN)
				}
				unix.Close(fd)
			}
		}
	})
}

// The kernel does not choose a reserved port as a source port.
func TestSourcePortsPassOver(t *testing.T) {
	ns := host(t)
	ns.Do(func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("8080 8081"), 0); err != nil {
			t.Fatal(err)
		}
		for _, proto := range []uint8{tcp, udp} {
			mustBind(t, port("0.0.0.0", proto))
			server := other{addr: "127.0.0.2"}
			kind := unix.SOCK_DGRAM
			if proto == tcp {
				kind = unix.SOCK_STREAM
			}
			listener, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(listener)
			to := &unix.SockaddrInet4{Port: 7000, Addr: [4]byte{127, 0, 0, 2}}
			if err := unix.Bind(listener, to); err != nil {
				t.Fatal(err)
			}
			if proto == tcp {
				if err := unix.Listen(listener, 5); err != nil {
					t.Fatal(err)
				}
			}
			for i, want := range []error{nil, unix.EADDRNOTAVAIL} {
				fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(fd)
				err = unix.Connect(fd, to)
				if proto == udp && want != nil {
					want = unix.EAGAIN // UDP's word for it
				}
				if err != want {
					t.Errorf("protocol %d, connection %d to %s: %v, want %v", proto, i, server.addr, err, want)
				}
				if name, _ := unix.Getsockname(fd); err == nil && name.(*unix.SockaddrInet4).Port != 8081 {
					t.Errorf("protocol %d: source port %d", proto, name.(*unix.SockaddrInet4).Port)
				}
			}
		}
	})
}

// python starts a program in the namespace that ends when the test does, and waits for it to say that it is ready.
func python(t *testing.T, ns nstest.NS, script string) (pid int) {
	t.Helper()
	nstest.NeedTool(t, "python3")
	cmd := exec.Command("python3", "-c", "import socket,sys\n"+script+"\nprint('ready',flush=True)\nsys.stdin.read()")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	ns.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("python3 said %q, %v", line, err)
	}
	return cmd.Process.Pid
}

func TestErrorNamesTheHolder(t *testing.T) {
	const (
		server4 = "s=socket.create_server(('0.0.0.0',8080))"
		server6 = "s=socket.create_server(('::1',8080),family=socket.AF_INET6)"
		dual    = "s=socket.create_server(('::',8080),family=socket.AF_INET6,dualstack_ipv6=True)"
		bound   = "s=socket.socket();s.bind(('127.0.0.1',8080))"
		udp4    = "s=socket.socket(type=socket.SOCK_DGRAM);s.bind(('127.0.0.1',8080))"
		udpDual = "s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM);s.bind(('::',8080))"
		mapped  = "s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM);s.bind(('::ffff:127.0.0.1',8080))"
	)
	for _, tt := range []struct {
		script string
		port   Port
	}{
		{server4, port("0.0.0.0", tcp)}, {server4, port("127.0.0.1", tcp)},
		{server6, port("::", tcp)}, {server6, port("::1", tcp)},
		{dual, port("0.0.0.0", tcp)}, {dual, port("::", tcp)}, {dual, port("127.0.0.1", tcp)},
		{bound, port("0.0.0.0", tcp)},
		{udp4, port("0.0.0.0", udp)}, {udp4, port("127.0.0.1", udp)},
		{udpDual, port("0.0.0.0", udp)}, {udpDual, port("::", udp)},
		{mapped, port("0.0.0.0", udp)},
	} {
		ns := host(t)
		pid := python(t, ns, tt.script)
		var err error
		ns.Do(func() { _, err = Bind(tt.port) })
		want := fmt.Sprintf("%s is in use by python3 (pid %d)", tt.port, pid)
		if !errors.Is(err, bridged.ErrConflict) || !errors.Is(err, unix.EADDRINUSE) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("beside %s: %v, want %q", tt.script, err, want)
		}
	}
}

// TestHolderIsLookedForLate: who has a port that a stock's socket was to hold is looked for when somebody reads the error, once, and in the namespace
// of the port.
func TestHolderIsLookedForLate(t *testing.T) {
	ns := host(t)
	pid := python(t, ns, "s=socket.create_server(('0.0.0.0',8080))")
	p := port("127.0.0.1", tcp)
	for _, tt := range []struct {
		gone error // why nobody can go to the namespace any more
		want string
	}{
		{nil, fmt.Sprintf("127.0.0.1:8080/tcp is in use by python3 (pid %d): address already in use", pid)},
		{unix.EBADF, "127.0.0.1:8080/tcp is in use by another process: address already in use"},
	} {
		looks := 0
		var stock Stock
		var err error
		ns.Do(func() {
			_, err = stock.Make(p, func(f func() error) (err error) {
				looks++
				if tt.gone != nil {
					return tt.gone
				}
				ns.Do(func() { err = f() })
				return err
			})
		})
		if !errors.Is(err, bridged.ErrConflict) || !errors.Is(err, unix.EADDRINUSE) || looks != 0 {
			t.Fatalf("an error of kind %q was made with %d looks", bridged.Code(err), looks)
		}
		for range 2 {
			if got := err.Error(); got != tt.want || looks != 1 {
				t.Errorf("%q after %d looks, want %q after 1", got, looks, tt.want)
			}
		}
	}
}

// The side that closes a connection first keeps the port for a minute (TIME_WAIT), without a process.
func TestErrorNamesAClosedConnection(t *testing.T) {
	ns := host(t)
	ns.Do(func() {
		listener, err := other{addr: "127.0.0.1"}.bind(t, tcp)
		if err != nil {
			t.Fatal(err)
		}
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(client, &unix.SockaddrInet4{Port: 8080, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		server, _, err := unix.Accept(listener)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range []int{server, client, listener} {
			unix.Close(fd)
		}
		if _, err := Bind(port("0.0.0.0", tcp)); !errors.Is(err, bridged.ErrConflict) || !strings.Contains(err.Error(), "a connection that was closed just now") {
			t.Errorf("beside TIME_WAIT: %v", err)
		}
	})
}

func TestBindRefuses(t *testing.T) {
	ns := host(t)
	ns.Do(func() {
		for _, tt := range []struct {
			port Port
			kind error
			want string
		}{
			{port("192.0.2.1", tcp), bridged.ErrInvalid, "192.0.2.1 is no address of this host"},
			{port("2001:db8::1", udp), bridged.ErrInvalid, "2001:db8::1 is no address of this host"},
			{port("fe80::1%lo", tcp), bridged.ErrInvalid, "fe80::1%lo"},
			{port("::ffff:127.0.0.1", tcp), bridged.ErrInvalid, "::ffff:127.0.0.1"},
			{Port{}, bridged.ErrInvalid, "cannot reserve a port of the host address"},
			{Port{netip.MustParseAddr("0.0.0.0"), tcp, 0}, bridged.ErrInvalid, "cannot reserve port 0 of 0.0.0.0"},
			{port("0.0.0.0", 1), bridged.ErrInvalid, "only ports of TCP, UDP and SCTP"},
		} {
			if s, err := Bind(tt.port); s != nil || !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Bind(%v) = %v, want %q", tt.port, err, tt.want)
			}
		}
		if s, err := Bind(port("0.0.0.0", sctp)); err != nil || s.Close() != nil {
			t.Errorf("SCTP, in the kernel or not: %v", err)
		}
	})
}

// TestTooManyOpenFiles: a reservation needs a descriptor, and leaves some to others.
func TestTooManyOpenFiles(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	next, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	for limit, enough := range map[int]bool{0: false, next + 2: false, 2*next + 8: true} {
		host(t).Do(func() {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(limit), Max: old.Max}); err != nil {
				t.Error(err)
			}
			s, err := Bind(port("127.0.0.1", tcp))
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
				t.Error(err)
			}
			switch {
			case enough && err != nil:
				t.Errorf("with %d descriptors: %v", limit, err)
			case enough:
				s.Close()
			case !errors.Is(err, bridged.ErrUnavailable) || !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "LimitNOFILE"):
				t.Errorf("with %d descriptors, %d of them taken: %v", limit, next, err)
			}
		})
	}
}

func TestNamespacesAreApart(t *testing.T) {
	a, b := host(t), host(t)
	for _, ns := range []nstest.NS{a, b} {
		ns.Do(func() { mustBind(t, port("0.0.0.0", tcp)) })
	}
	if out := a.Run("ss -Htanu"); strings.Contains(out, "LISTEN") {
		t.Errorf("a reservation listens:\n%s", out)
	}
}

func TestEphemeral(t *testing.T) {
	ns := host(t)
	ns.Do(func() {
		for path, value := range map[string]string{"ip_local_port_range": "40000 40010", "ip_local_reserved_ports": "40002,40004-40006,8080"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+path, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
		first, last, reserved, err := Ephemeral()
		if err != nil || first != 40000 || last != 40010 {
			t.Fatalf("Ephemeral() = %d, %d, %v", first, last, err)
		}
		var got []uint16
		for p := 0; p <= 65535; p++ {
			if reserved(uint16(p)) {
				got = append(got, uint16(p))
			}
		}
		if want := "[8080 40002 40004 40005 40006]"; fmt.Sprint(got) != want {
			t.Errorf("reserved: %v, want %s", got, want)
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_reserved_ports", []byte("\n"), 0); err != nil {
			t.Fatal(err)
		}
		if _, _, reserved, err := Ephemeral(); err != nil || reserved(40002) {
			t.Errorf("nothing is reserved any more: %v", err)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"x", "1-2-3", "70000", "1-x", "-"} {
		if _, err := parseReserved(s); err == nil {
			t.Errorf("parseReserved(%q): no error", s)
		}
	}
	if _, _, err := parseRange(nil); err == nil {
		t.Error("parseRange of nothing: no error")
	}
}

func BenchmarkBind(b *testing.B) {
	for name, proto := range map[string]uint8{"tcp": tcp, "udp": udp} {
		b.Run(name, func(b *testing.B) {
			host(b).Do(func() {
				b.ReportAllocs()
				for b.Loop() {
					s, err := Bind(port("127.0.0.1", proto))
					if err != nil {
						b.Fatal(err)
					}
					s.Close()
				}
			})
		})
	}
}
