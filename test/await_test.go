package test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
)

// await waits until a condition holds, and looks again whenever the kernel announces a change of links, addresses, routes or
// the packet filter of the host, or of the names in its /run/netns. It ends the test when that takes too long.
func (w *world) await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	watched := w.watch(t)
	defer watched.close()
	end := flowtest.Deadline()
	for !holds() {
		if err := watched.wait(time.Until(end)); err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// changes is a set of sockets that get readable when something changes on the host.
type changes struct{ fds []unix.PollFd }

func (w *world) watch(t testing.TB) *changes {
	t.Helper()
	c := &changes{}
	add := func(fd int) { c.fds = append(c.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}) }
	err := w.host.Do(func() error {
		for protocol, groups := range map[int]uint32{
			unix.NETLINK_ROUTE: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
				unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE,
			unix.NETLINK_NETFILTER: 1 << (unix.NFNLGRP_NFTABLES - 1),
		} {
			fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
			if err != nil {
				return err
			}
			add(fd)
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
				return err
			}
			if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
				return err
			}
		}
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			return err
		}
		add(fd)
		if err := os.MkdirAll("/run/netns", 0o755); err != nil {
			return err
		}
		_, err = unix.InotifyAddWatch(fd, "/run/netns", unix.IN_CREATE|unix.IN_DELETE)
		return err
	})
	if err != nil {
		c.close()
		t.Fatalf("cannot watch the host: %v", err)
	}
	return c
}

// wait waits for a change, and takes it out of its queue.
func (c *changes) wait(within time.Duration) error {
	for {
		n, err := unix.Poll(c.fds, int(within.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0 || within <= 0:
			return fmt.Errorf("nothing changed any more")
		}
		break
	}
	buf := make([]byte, 1<<20)
	for _, fd := range c.fds {
		if fd.Revents != 0 {
			unix.Read(int(fd.Fd), buf)
		}
	}
	return nil
}

func (c *changes) close() {
	for _, fd := range c.fds {
		unix.Close(int(fd.Fd))
	}
}
