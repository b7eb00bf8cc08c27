package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/sysctl"
)

// The addresses are the same in every world, since worlds do not know of each other.
var (
	clientAddr = netip.MustParsePrefix("192.0.2.2/24")
	hostAddr   = netip.MustParsePrefix("192.0.2.1/24")
	bridgeAddr = netip.MustParsePrefix("172.20.0.1/16")
	insideAddr = netip.MustParsePrefix("172.20.0.2/16")
)

// bridgeName is the bridge's name in every world.
const bridgeName = "docker0"

// world is a host with a client on its LAN and a container behind its bridge: three network namespaces.
//
//	client 192.0.2.2 ── 192.0.2.1 host 172.20.0.1 ══ docker0 ── 172.20.0.2 container
type world struct {
	name                    string
	client, host, container *space
	// proto is that of the published ports: TCP unless somebody sets UDP, before any port is published.
	proto bridged.Proto
}

// newWorld makes the namespaces and joins client and host. The bridge is there only when somebody has made it: see bridge.
func newWorld(name string) (w *world, err error) {
	w = &world{name: name, proto: bridged.TCP}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("cannot make a host to measure on: %w", err), w.close())
		}
	}()
	for _, s := range []struct {
		space **space
		name  string
	}{{&w.client, "client"}, {&w.host, "host"}, {&w.container, "container"}} {
		if *s.space, err = newSpace(name + "-" + s.name); err != nil {
			return w, err
		}
		if err = up(*s.space, "lo"); err != nil {
			return w, err
		}
	}
	return w, w.join()
}

// join is the LAN.
func (w *world) join() error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "lan0"
	if err := w.host.rtnetlink(func(h *netlink.Handle) error {
		return h.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(w.client.ns.FD())})
	}); err != nil {
		return err
	}
	return errors.Join(
		configure(w.host, "lan0", hostAddr, netip.Addr{}),
		configure(w.client, "eth0", clientAddr, hostAddr.Addr()))
}

// bridge makes the bridge with the container at it, for the peers that only make rules, and switches forwarding on.
func (w *world) bridge() error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = bridgeName
	err := w.host.rtnetlink(func(h *netlink.Handle) error { return h.LinkAdd(&netlink.Bridge{LinkAttrs: attributes}) })
	if err != nil {
		return fmt.Errorf("cannot make a bridge: %w", err)
	}
	if err := configure(w.host, bridgeName, bridgeAddr, netip.Addr{}); err != nil {
		return err
	}
	if err := w.plug(); err != nil {
		return err
	}
	return w.host.do(func() error { return sysctl.Set("net/ipv4/ip_forward", "1") })
}

// plug attaches the container to the bridge.
func (w *world) plug() error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = portName
	err := w.host.rtnetlink(func(h *netlink.Handle) error {
		bridge, err := h.LinkByName(bridgeName)
		if err != nil {
			return err
		}
		attributes.MasterIndex = bridge.Attrs().Index
		pair := &netlink.Veth{
			LinkAttrs: attributes, PeerName: "eth0", PeerNamespace: netlink.NsFd(w.container.ns.FD()), PeerHardwareAddr: net.HardwareAddr(insideMAC[:]),
		}
		return h.LinkAdd(pair)
	})
	if err != nil {
		return fmt.Errorf("cannot attach the container: %w", err)
	}
	return errors.Join(up(w.host, portName), configure(w.container, "eth0", insideAddr, bridgeAddr.Addr()))
}

// portName and insideMAC are of the container that plug attaches, as package forwarding's elements have them.
const portName = "bv000000000001"

var insideMAC = [6]byte{0x02, 0x42, 172, 20, 0, 2}

// close removes the namespaces, and so all that is in them.
func (w *world) close() error {
	var err error
	for _, s := range []*space{w.container, w.client, w.host} {
		if s != nil {
			err = errors.Join(err, s.close())
		}
	}
	return err
}

// rtnetlink runs f with a handle in the namespace.
func (s *space) rtnetlink(f func(*netlink.Handle) error) error {
	return s.do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(h)
	})
}

func up(s *space, link string) error {
	return s.rtnetlink(func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err != nil {
			return fmt.Errorf("link %s: %w", link, err)
		}
		return h.LinkSetUp(l)
	})
}

// configure gives a link an address and brings it up; gateway, when there is one, is the default route's.
func configure(s *space, link string, address netip.Prefix, gateway netip.Addr) error {
	err := s.rtnetlink(func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err != nil {
			return err
		}
		ip := &net.IPNet{IP: address.Addr().AsSlice(), Mask: net.CIDRMask(address.Bits(), address.Addr().BitLen())}
		if err := h.AddrAdd(l, &netlink.Addr{IPNet: ip}); err != nil {
			return err
		}
		if err := h.LinkSetUp(l); err != nil || !gateway.IsValid() {
			return err
		}
		return h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gateway.AsSlice()})
	})
	if err != nil {
		return fmt.Errorf("cannot configure link %s of %s: %w", link, s.name, err)
	}
	return nil
}
