package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/bridged/bridged"
)

// translations are the published ports of a host, and where each leads.
type translations map[bridged.ProtoPort]netip.AddrPort

// want is what a host holds on which these ports are published: each leads to the same port of the container.
func want(proto bridged.Proto, ports []uint16) translations {
	t := make(translations, len(ports))
	for _, p := range ports {
		t[bridged.ProtoPort{Proto: proto, Port: p}] = netip.AddrPortFrom(insideAddr.Addr(), p)
	}
	return t
}

// chosen is where these ports lead in t, each to the same port of an address that the peer may have chosen: whose it is packets tell.
func (t translations) chosen(proto bridged.Proto, ports []uint16) (translations, error) {
	found := make(translations, len(ports))
	for _, p := range ports {
		port := bridged.ProtoPort{Proto: proto, Port: p}
		to := t[port]
		if to.Port() != p || !bridgeAddr.Masked().Contains(to.Addr()) {
			return nil, fmt.Errorf("port %v of a container leads to %v", port, to)
		}
		found[port] = to
	}
	return found, nil
}

// differs says how t, which the kernel holds, differs from what it should be.
func (t translations) differs(want translations) error {
	var errs []error
	for _, port := range slices.SortedFunc(maps.Keys(want), bridged.ProtoPort.Compare) {
		if t[port] != want[port] {
			errs = append(errs, fmt.Errorf("port %v leads to %v instead of %v", port, t[port], want[port]))
		}
	}
	for _, port := range slices.SortedFunc(maps.Keys(t), bridged.ProtoPort.Compare) {
		if _, ok := want[port]; !ok {
			errs = append(errs, fmt.Errorf("port %v is left, leading to %v", port, t[port]))
		}
	}
	if len(errs) > 3 {
		errs = append(errs[:3:3], fmt.Errorf("and %d more", len(errs)-3))
	}
	return errors.Join(errs...)
}

// arrivals is how many of the published ports packets are sent through.
const arrivals = 8

// unpublished is a port that nobody publishes.
const unpublished = firstSpare - 1

// check compares what the kernel holds with what it should, ports being those that are published and free one that is not, and sends
// packets through some of them, the first and the last included.
func check(p publisher, ports []uint16, free uint16) error {
	held, err := p.held()
	if err != nil {
		return fmt.Errorf("cannot read what the kernel holds: %w", err)
	}
	if err := held.differs(want(p.world().proto, ports)); err != nil {
		return fmt.Errorf("the kernel holds %d ports instead of %d: %w", len(held), len(ports), err)
	}
	if err := p.world().refuses(free); err != nil || len(ports) == 0 {
		return err
	}
	through := []uint16{ports[0], ports[len(ports)-1]}
	for range arrivals - len(through) {
		through = append(through, ports[rand.IntN(len(ports))])
	}
	for _, port := range through {
		if err := p.world().reaches(p.world().container, port); err != nil {
			return err
		}
	}
	return nil
}
