package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// BenchmarkOutage is a flush of the whole ruleset by nft where our tables are not protected. rules is the time from the flush's commit to the
// repair's, as the kernel announces them; refused is the time for which new connections through a published port failed. 50 ms
// are the mark for the slowest 1 %: run it with -benchtime 300x or more.
func BenchmarkOutage(b *testing.B) {
	for _, size := range []struct{ sandboxes, ports int }{{1, 0}, {1, 1000}, {100, 1000}, {1, 5000}, {500, 5000}} {
		b.Run(fmt.Sprintf("sandboxes=%d,ports=%d", size.sandboxes, size.ports), func(b *testing.B) {
			host, cfg := giveNamespace(b), testConfig(b)
			cfg.Protection = "monitor"
			e, stop := startIn(b, host, cfg)
			defer stop()
			web := newSpace(b, "web", giveNamespace(b))
			if _, err := e.CreateSandbox(b.Context(), bridged.SandboxSpec{Name: "web", NetNS: web.path, Ports: specs(b, "8080:80")}); err != nil {
				b.Fatal(err)
			}
			if size.sandboxes == 1 {
				publishMany(b, e, "web", size.ports)
			} else {
				populate(b, e, size.sandboxes)
			}
			web.serve()
			client := newSpace(b, "host", host)
			announced := announcements(b, client)
			gateway := e.Sandboxes()[0].Joined[0].Network.IPv4.GatewayPrefix().Addr()
			to := netip.AddrPortFrom(gateway, 8080)
			var rules, refused []time.Duration
			for b.Loop() {
				repaired := e.repaired.Load()
				refused = append(refused, outage(b, client, to, func() { client.run("nft flush ruleset") }))
				times := announced(2)
				rules = append(rules, times[1].Sub(times[0]))
				_ = e.rules.wait(b.Context(), every[struct{}])
				if n := e.repaired.Load() - repaired; n != 1 {
					b.Fatalf("a flush led to %d repairs", n)
				}
			}
			report(b, "rules", rules)
			report(b, "refused", refused)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// publishMany publishes this many further ports of a sandbox.
func publishMany(tb testing.TB, e *Engine, sandbox string, ports int) {
	tb.Helper()
	for first := 0; first < ports; first += 1000 {
		last := min(first+1000, ports) - 1
		spec := fmt.Sprintf("%[1]d-%[2]d:%[1]d-%[2]d", 20000+first, 20000+last)
		if _, _, err := e.AddPorts(tb.Context(), sandbox, specs(tb, spec)); err != nil {
			tb.Fatal(err)
		}
	}
}

// outage connects until that works, calls cut, connects until it fails and then until it works again, and returns the time between.
func outage(b *testing.B, from space, to netip.AddrPort, cut func()) (d time.Duration) {
	b.Helper()
	var cutting sync.WaitGroup
	defer cutting.Wait()
	from.must(func() error {
		if err := connect(to); err != nil {
			return err
		}
		cutting.Go(cut)
		var began time.Time
		for end := time.Now().Add(patience); time.Now().Before(end); {
			now := time.Now()
			err := connect(to)
			switch {
			case err != nil && began.IsZero():
				began = now
			case err == nil && !began.IsZero():
				d = time.Since(began)
				return nil
			}
		}
		return errors.New("the ruleset was not flushed, or did not come back")
	})
	return d
}

// connect makes a connection and ends it at once, leaving nothing behind in either end. One that is not there within
// a time that is long for this machine has lost a packet, and failed.
func connect(to netip.AddrPort) error {
	const long = 5 // ms
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, long); err != nil || n == 0 {
		return errors.Join(err, unix.ETIMEDOUT)
	}
	if errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
		return errors.Join(err, unix.Errno(errno))
	}
	return nil
}

// announcements listens to nf_tables. What it returns waits for this many transactions, and gives the times at which they were announced.
func announcements(b *testing.B, p space) func(n int) []time.Time {
	b.Helper()
	var fd int
	p.must(func() (err error) {
		if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience.Seconds())}),
			unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)}))
	})
	times := make(chan time.Time, 1024)
	go func() {
		defer close(times)
		defer unix.Close(fd)
		for buf := make([]byte, 1<<20); ; {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if b.Context().Err() != nil || err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
			now := time.Now()
			for m := buf[:max(n, 0)]; len(m) >= unix.SizeofNlMsghdr; {
				size := int(binary.NativeEndian.Uint32(m))
				if binary.NativeEndian.Uint16(m[4:])&0xff == unix.NFT_MSG_NEWGEN {
					times <- now
				}
				m = m[min(len(m), max((size+3)&^3, unix.SizeofNlMsghdr)):]
			}
		}
	}()
	return func(n int) []time.Time {
		all := make([]time.Time, n)
		for i := range all {
			t, ok := <-times
			if !ok {
				b.Fatal("nf_tables announced nothing more")
			}
			all[i] = t
		}
		return all
	}
}

// report gives the median and the slowest 1 %.
func report(b *testing.B, what string, all []time.Duration) {
	b.Helper()
	slices.Sort(all)
	for _, p := range []int{50, 99} {
		at := all[min(len(all)-1, len(all)*p/100)]
		b.ReportMetric(float64(at.Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", what, p))
	}
}
