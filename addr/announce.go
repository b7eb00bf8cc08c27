package addr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Announcement tells the neighbours on a link that addresses have a MAC, for those that still know another.
type Announcement struct {
	// Link is the index of the link to send on.
	Link int
	// MAC is the addresses' owner and the frames' source.
	MAC MAC
	// Addrs are the addresses, of both families.
	Addrs []netip.Addr
}

// Announce sends, for each IPv4 address, an ARP request for itself to everyone (RFC 5227, as the kernel does with arp_notify),
// and for each IPv6 address an unsolicited neighbour advertisement with the override flag to all nodes (RFC 4861, 7.2.6). It
// sends on a link of the calling thread's network namespace, which must be up, and goes on after an error. Behind a bridge's port
// that does not forward yet, nobody hears it.
//
// It waits an RCU grace period, some 10 to 20 ms, for its packet socket to close: call it behind the answer.
func Announce(a Announcement) (err error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: receives nothing
	if err != nil {
		return fmt.Errorf("cannot open a packet socket: %w", err)
	}
	defer unix.Close(fd)
	var errs []error
	for _, ip := range a.Addrs {
		if err := unix.Sendto(fd, a.frame(ip), 0, &unix.SockaddrLinklayer{Ifindex: a.Link}); err != nil {
			errs = append(errs, fmt.Errorf("cannot announce %v on link %d: %w", ip, a.Link, err))
		}
	}
	return errors.Join(errs...)
}

// frame is the Ethernet frame that announces ip.
func (a Announcement) frame(ip netip.Addr) []byte {
	if ip.Is4() {
		return a.arp(ip)
	}
	return a.advertisement(ip)
}

// arp is an ARP request whose sender and target are ip (RFC 826).
func (a Announcement) arp(ip netip.Addr) []byte {
	f := ethernet(MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, a.MAC, unix.ETH_P_ARP)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, lengths of both, request
	f = append(append(f, a.MAC[:]...), ip.AsSlice()...)
	return append(append(f, make([]byte, 6)...), ip.AsSlice()...)
}

// advertisement is an ICMPv6 neighbour advertisement from ip to ff02::1.
func (a Announcement) advertisement(ip netip.Addr) []byte {
	src, dst := ip.As16(), netip.IPv6LinkLocalAllNodes().As16()
	const override = 0x20
	icmp := append([]byte{136, 0, 0, 0, override, 0, 0, 0}, src[:]...)
	icmp = append(append(icmp, 2, 1), a.MAC[:]...) // target link-layer address, 8 bytes
	binary.BigEndian.PutUint16(icmp[2:], checksum(src, dst, icmp))

	f := ethernet(MAC{0x33, 0x33, 0, 0, 0, 1}, a.MAC, unix.ETH_P_IPV6)
	f = append(f, 0x60, 0, 0, 0, 0, byte(len(icmp)), unix.IPPROTO_ICMPV6, 255)
	return append(append(append(f, src[:]...), dst[:]...), icmp...)
}

func ethernet(dst, src MAC, protocol uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte(nil), dst[:]...), src[:]...), protocol)
}

// checksum is that of an ICMPv6 message, with the pseudo-header (RFC 4443, 2.3).
func checksum(src, dst [16]byte, icmp []byte) uint16 {
	sum := uint32(len(icmp)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{src[:], dst[:], icmp} { // each of even length
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
