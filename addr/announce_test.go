package addr_test

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/nstest"
)

func parseMAC(t *testing.T, s string) addr.MAC {
	t.Helper()
	hw, err := net.ParseMAC(s)
	check(t, err)
	return addr.MAC(hw)
}

// pair is two namespaces with the ends of a veth pair, both named eth0, up; frames that reach the second are read from fd.
func pair(t *testing.T) (sender, receiver nstest.NS, fd int) {
	t.Helper()
	sender, receiver = nstest.New(t), nstest.New(t)
	sender.Run("ip link add eth0 type veth peer name eth0 netns " + receiver.Path())
	for _, n := range []nstest.NS{sender, receiver} {
		n.Run("ip link set eth0 up")
	}
	receiver.Do(func() {
		var err error
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		check(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8
		check(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: index(receiver, "eth0")}))
	})
	return sender, receiver, fd
}

func TestAnnounce(t *testing.T) {
	sender, receiver, fd := pair(t)
	mac := addr.MAC{2, 0x42, 10, 0, 0, 2}
	// The neighbour believes that someone else has the addresses.
	for _, words := range []string{
		"ip addr add 10.0.0.1/24 dev eth0", "ip addr add fd00::1/64 dev eth0 nodad",
		"ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:99 nud stale dev eth0", "ip neigh add fd00::2 lladdr 02:00:00:00:00:99 nud stale dev eth0",
	} {
		receiver.Run(words)
	}
	await := receiver.WatchNeighbours()
	link := index(sender, "eth0")
	sender.Do(func() {
		check(t, addr.Announce(addr.Announcement{Link: link, MAC: mac, Addrs: []netip.Addr{ip("10.0.0.2"), ip("fd00::2")}}))
	})

	arp := "ffffffffffff" + "02420a000002" + "0806" + // Ethernet
		"0001" + "0800" + "06" + "04" + "0001" + // request
		"02420a000002" + "0a000002" + "000000000000" + "0a000002"
	advertisement := "333300000001" + "02420a000002" + "86dd" +
		"60000000" + "0020" + "3a" + "ff" + // ICMPv6, hop limit 255
		"fd000000000000000000000000000002" + "ff020000000000000000000000000001" +
		"8800" + "5056" + "20000000" + "fd000000000000000000000000000002" + "0201" + "02420a000002"
	want := map[string]bool{arp: false, advertisement: false}
	buf := make([]byte, 2048)
	for !want[arp] || !want[advertisement] {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			t.Fatalf("not all announcements came: %v, %v", want, err)
		}
		if frame := hex.EncodeToString(buf[:n]); strings.HasPrefix(frame[12:], "02420a000002") {
			if seen, ok := want[frame]; !ok || seen {
				t.Errorf("unexpected frame %s", frame)
			}
			want[frame] = true
		}
	}
	// The neighbour's kernel took the checksum, too.
	await(mac.String(), ip("10.0.0.2"), ip("fd00::2"))
}

func TestAnnounceErrors(t *testing.T) {
	n := nstest.New(t)
	n.Do(func() {
		err := addr.Announce(addr.Announcement{Link: 4711, Addrs: []netip.Addr{ip("10.0.0.2"), ip("fd00::2")}})
		if !errors.Is(err, unix.ENXIO) || !strings.Contains(err.Error(), "10.0.0.2") || !strings.Contains(err.Error(), "fd00::2") {
			t.Errorf("error is %v", err)
		}
		err = addr.Announce(addr.Announcement{Link: 1, Addrs: []netip.Addr{ip("10.0.0.2")}})
		if !errors.Is(err, unix.ENETDOWN) {
			t.Errorf("error is %v", err)
		}
	})
}
