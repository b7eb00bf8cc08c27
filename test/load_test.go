package test

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
)

// flow is requests from a space to a server, which says its name.
type flow struct {
	from   *flowtest.Space
	proto  string
	to     netip.AddrPort
	server string
	// stands: all requests go over one connection, or from one source port. Otherwise each is a new one.
	stands bool
}

func (f flow) String() string {
	kind := "new"
	if f.stands {
		kind = "standing"
	}
	return fmt.Sprintf("%s %s from %s to %s", kind, f.proto, f.from.Name, f.to)
}

// load is requests that are made until it is stopped, and none of which may fail, be refused, or need a second SYN.
type load struct {
	answered atomic.Int64
	began    time.Time
	stop     chan struct{}
	stopping sync.Once
	running  sync.WaitGroup
}

// load makes about this many requests a second, the same of each flow. It returns when each flow was answered. Those of TCP
// come first: what is the first to pass is sent again when it is lost.
func (w *world) load(t testing.TB, rate int, flows ...flow) *load {
	t.Helper()
	for _, f := range flows { // links that just came up may lose the first packet on a busy machine
		flowtest.Reaches(t, f.from, f.proto, f.to, f.server)
	}
	l := &load{began: time.Now(), stop: make(chan struct{})}
	t.Cleanup(l.wait)
	var first sync.WaitGroup
	for _, f := range flows {
		first.Add(1)
		l.running.Go(func() {
			once := sync.OnceFunc(first.Done)
			defer once()
			tick := time.NewTicker(time.Second * time.Duration(len(flows)) / time.Duration(rate))
			defer tick.Stop()
			n := 0
			err := f.run(func() bool {
				if n++; n > 1 {
					once()
					l.answered.Add(1)
				}
				select {
				case <-l.stop:
					return false
				case <-tick.C:
					return true
				}
			})
			if err != nil {
				t.Errorf("%s: after %d requests: %v", f, n-1, err)
			}
		})
	}
	first.Wait()
	return l
}

// wait stops the load, and waits for the last answers.
func (l *load) wait() {
	l.stopping.Do(func() { close(l.stop) })
	l.running.Wait()
}

// end stops the load, and says how much it was.
func (l *load) end(t testing.TB) {
	t.Helper()
	l.wait()
	n, d := l.answered.Load(), time.Since(l.began)
	t.Logf("%d requests answered in %v: %.0f a second", n, d.Round(time.Millisecond), float64(n)/d.Seconds())
}

// run makes a request whenever next says so, until the first that fails.
func (f flow) run(next func() bool) error {
	return f.from.Do(func() error {
		for next() {
			c, lines, err := f.open()
			if err != nil {
				return err
			}
			err = f.ask(c, lines)
			for f.stands && err == nil && next() {
				err = f.ask(c, lines)
			}
			c.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// open connects, and checks who is there.
func (f flow) open() (net.Conn, *bufio.Reader, error) {
	d := net.Dialer{Timeout: flowtest.Patience}
	c, err := d.Dial(f.proto, f.to.String())
	if err != nil || f.proto == "udp" {
		return c, nil, err
	}
	if err := onceOnly(c.(*net.TCPConn)); err != nil {
		c.Close()
		return nil, nil, err
	}
	lines := bufio.NewReader(c)
	c.SetDeadline(flowtest.Deadline())
	text, err := lines.ReadString('\n')
	if err == nil && !isFrom(text, f.server) {
		err = fmt.Errorf("%q answered, not %s", text, f.server)
	}
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, lines, nil
}

func isFrom(text, server string) bool {
	var name string
	fmt.Sscan(text, &name)
	return name == server
}

// onceOnly fails when the connection needed more than one SYN: one was lost.
func onceOnly(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var info *unix.TCPInfo
	var infoErr error
	err = raw.Control(func(fd uintptr) { info, infoErr = unix.GetsockoptTCPInfo(int(fd), syscall.IPPROTO_TCP, unix.TCP_INFO) })
	switch {
	case err != nil:
		return err
	case infoErr != nil:
		return infoErr
	case info.Total_retrans > 0:
		return fmt.Errorf("the connection needed %d more SYNs", info.Total_retrans)
	}
	return nil
}

// ask sends a text and wants it back.
func (f flow) ask(c net.Conn, lines *bufio.Reader) error {
	mark := flowtest.NewMark()
	c.SetDeadline(flowtest.Deadline())
	if f.proto == "udp" {
		if _, err := c.Write([]byte(mark)); err != nil {
			return err
		}
		a, err := flowtest.ReadAnswer(c, mark)
		if err == nil && a.Server != f.server {
			err = fmt.Errorf("%s answered, not %s", a.Server, f.server)
		}
		return err
	}
	if _, err := fmt.Fprintln(c, mark); err != nil {
		return err
	}
	got, err := lines.ReadString('\n')
	if err == nil && got != mark+"\n" {
		err = fmt.Errorf("%q came back", got)
	}
	return err
}
