package rtnl_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/internal/rtnl"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dial(t testing.TB, n nstest.NS) *rtnl.Socket {
	t.Helper()
	var s *rtnl.Socket
	n.Do(func() {
		var err error
		s, err = rtnl.Dial()
		check(t, err)
	})
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// setUp adds a message that brings a link up.
func setUp(b *rtnl.Batch, index int) int {
	n := b.Begin(unix.RTM_SETLINK, 0)
	b.Link(unix.AF_UNSPEC, index, unix.IFF_UP, unix.IFF_UP)
	return n
}

// getLink adds a message that asks for a link.
func getLink(b *rtnl.Batch, name string) int {
	n := b.Begin(unix.RTM_GETLINK, 0)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
	return n
}

// The bytes are those of a machine of little endian, as the kernel's headers lay them out.
func TestDatagram(t *testing.T) {
	if rtnl.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the machine is big endian")
	}
	var b rtnl.Batch
	setUp(&b, 7)
	b.Begin(unix.RTM_NEWLINK, unix.NLM_F_CREATE)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, "br0")
	b.Nest(unix.IFLA_LINKINFO, func() {
		b.Bool(1, true)
		b.Uint16(2, 0x0304)
		b.Bytes(3, []byte{5, 6, 7, 8, 9})
	})
	want := "20000000" + "1300" + "0100" + "64000000" + "00000000" + "00000000" + "07000000" + "01000000" + "01000000" +
		"48000000" + "1000" + "0504" + "65000000" + "00000000" + "00000000" + "00000000" + "00000000" + "00000000" +
		"08000300" + "62723000" +
		"20001280" + "05000100" + "01000000" + "06000200" + "04030000" + "09000300" + "0506070809000000"
	if got := hex.EncodeToString(b.Datagram(100, unix.NLM_F_ACK)); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}

// Each failure is that of its message; what is behind it runs.
func TestDoMatchesAnswers(t *testing.T) {
	n := nstest.New(t)
	s := dial(t, n)
	for range 2 { // sequence numbers go on
		var b rtnl.Batch
		missing := setUp(&b, 4711)
		lo := getLink(&b, "lo")
		alsoMissing := getLink(&b, "br9")
		setUp(&b, 1)
		var answered []int
		failed, err := s.Do(&b, func(message int, kind uint16, body []byte) {
			if kind != unix.RTM_NEWLINK || len(body) < unix.SizeofIfInfomsg {
				t.Errorf("answer %d of %d bytes", kind, len(body))
			}
			answered = append(answered, message)
		})
		check(t, err)
		if len(failed) != 2 || failed[0].Message != missing || failed[1].Message != alsoMissing ||
			!errors.Is(failed[0].Err, unix.ENODEV) || !errors.Is(failed[1].Err, unix.ENODEV) {
			t.Errorf("failures are %v", failed)
		}
		if fmt.Sprint(answered) != fmt.Sprint([]int{lo}) {
			t.Errorf("answers are for %v", answered)
		}
	}
	if out := n.Run("ip link show lo"); !strings.Contains(out, "LOOPBACK,UP") {
		t.Errorf("lo is %s", out)
	}
}

// The last message's failure takes the place of the acknowledgement.
func TestDoLastFails(t *testing.T) {
	s := dial(t, nstest.New(t))
	var b rtnl.Batch
	setUp(&b, 1)
	b.Begin(unix.RTM_NEWADDR, unix.NLM_F_CREATE)
	b.Address(unix.AF_INET6, 64, 0, 1)
	b.Bytes(unix.IFA_ADDRESS, []byte{0: 0xff, 1: 2, 15: 1})
	failed, err := s.Do(&b, nil)
	check(t, err)
	if len(failed) != 1 || failed[0].Message != 1 || !errors.Is(failed[0].Err, unix.EADDRNOTAVAIL) ||
		!strings.HasPrefix(failed[0].Err.Error(), "cannot assign requested address (kernel: ipv6: ") {
		t.Errorf("failures are %v", failed)
	}
}

func TestIndex(t *testing.T) {
	s := dial(t, nstest.New(t))
	if i, err := s.Index("lo"); i != 1 || err != nil {
		t.Errorf("lo is %d, %v", i, err)
	}
	if _, err := s.Index("br9"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("error is %v", err)
	}
	if _, err := s.Index("a-name-that-is-too-long"); err == nil {
		t.Error("no error")
	}
}

func TestClosed(t *testing.T) {
	s := dial(t, nstest.New(t))
	check(t, s.Close())
	var b rtnl.Batch
	setUp(&b, 1)
	if _, err := s.Do(&b, nil); !errors.Is(err, unix.EBADF) {
		t.Errorf("error is %v", err)
	}
	if err := s.Dump(&b, func() {}, func(uint16, []byte) {}); !errors.Is(err, unix.EBADF) {
		t.Errorf("error is %v", err)
	}
}

// A dump that the kernel refuses is an error, not an empty list.
func TestDumpRefused(t *testing.T) {
	s := dial(t, nstest.New(t))
	var b rtnl.Batch
	b.Begin(unix.RTM_GETNETCONF+1000, 0)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	if err := s.Dump(&b, func() {}, func(uint16, []byte) {}); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("error is %v", err)
	}
}

func TestWatchErrors(t *testing.T) {
	nstest.New(t).Do(func() {
		if _, err := rtnl.Watch(1 << 20); !errors.Is(err, unix.EINVAL) {
			t.Errorf("error is %v", err)
		}
		w, err := rtnl.Watch(unix.RTNLGRP_LINK)
		check(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // before it runs
		check(t, w.Run(ctx, func(uint16, []byte) {}, func() {}))
	})
}

func Example() {
	var b rtnl.Batch
	b.Begin(unix.RTM_SETLINK, 0)
	b.Link(unix.AF_UNSPEC, 1, unix.IFF_UP, unix.IFF_UP)
	for m := range rtnl.Messages(b.Datagram(1, unix.NLM_F_ACK)) {
		fmt.Println(m.Kind == unix.RTM_SETLINK, m.Flags == unix.NLM_F_REQUEST|unix.NLM_F_ACK, len(m.Body))
	}
	// Output: true true 16
}

// TestMaxList: a list that is longer than allowed is an error, one that is not is whole, and the socket goes on either way.
func TestMaxList(t *testing.T) {
	n := nstest.New(t)
	n.Run("ip link set lo up")
	var s *rtnl.Socket
	n.Do(func() {
		var err error
		here := func(f func() error) (err error) { n.Do(func() { err = f() }); return err }
		s, err = rtnl.Options{In: here, MaxList: 5}.Dial()
		check(t, err)
	})
	t.Cleanup(func() { check(t, s.Close()) })
	addresses := func() (count int, err error) {
		var b rtnl.Batch
		b.Begin(unix.RTM_GETADDR, 0)
		b.Address(unix.AF_INET, 0, 0, 0)
		err = s.Dump(&b, func() { count = 0 }, func(uint16, []byte) { count++ })
		return count, err
	}
	for i := 1; i < 500; i++ {
		n.Run(fmt.Sprintf("ip addr add 10.0.%d.%d/32 dev lo", i/250, i%250))
		if i == 4 { // and 127.0.0.1
			if count, err := addresses(); count != 5 || err != nil {
				t.Errorf("%d addresses, %v", count, err)
			}
		}
	}
	if count, err := addresses(); !errors.Is(err, rtnl.ErrTooLong) || count != 5 {
		t.Errorf("%d of 500 addresses, %v", count, err)
	}
	if index, err := s.Index("lo"); index != 1 || err != nil {
		t.Errorf("afterwards the index of lo is %d, %v", index, err)
	}
	n.Run("ip addr flush dev lo")
	if count, err := addresses(); count != 0 || err != nil {
		t.Errorf("without any, there are %d addresses, %v", count, err)
	}
}
