package engine

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/ipam"
	"github.com/bridged/bridged/link"
)

// defaultNetwork is the network "bridge" as the flags want it: init_networkdriver of old. old is the one of the last run, zero when
// there was none. Nothing is touched here: the network is a value, and what it wants of the kernel is made by the reconcile.
func (e *Engine) defaultNetwork(old bridged.Network) (bridged.Network, error) {
	n := bridged.Network{
		ID: old.ID, Name: bridged.NetworkBridge, Created: old.Created, Driver: bridged.DriverBridge,
		ICC: e.cfg.ICC, Masquerade: e.cfg.IPMasq, SourceGuard: true, MTU: e.mtu(),
		Options: map[string]string{"com.docker.network.bridge.default_bridge": "true"},
	}
	if n.ID == "" {
		n.ID, n.Created = bridged.NewID(), time.Now().UTC()
	}
	var s subnets
	var err error
	if e.cfg.Bridge != "" {
		n.Bridge = e.cfg.Bridge
		s, err = e.existingBridge(&n, old)
	} else {
		n.Bridge = e.cfg.BridgeName
		s, err = e.ownBridge(&n, old)
	}
	if err != nil {
		return n, err
	}
	if s.ipv6.IsValid() && n.MTU < minMTU6 {
		return n, bridged.Errorf(bridged.ErrInvalid, "MTU %d of %s, which is that of the default route unless it was given, is too small for IPv6: want --mtu %d or more",
			n.MTU, n.Bridge, minMTU6)
	}
	for _, other := range e.index.Networks {
		if other.Name != n.Name && other.Bridge == n.Bridge {
			return n, bridged.Errorf(bridged.ErrConflict, "%s is the bridge of network %s: the default network needs another one, see --bridge-name", n.Bridge, other.Name)
		}
	}
	if err := e.setSubnets(&n, s); err != nil {
		return n, err
	}
	return n, e.checkMove(old, n)
}

// minMTU6 is the smallest MTU of IPv6: RFC 8200, section 5. Below it the kernel has no IPv6 on a link.
const minMTU6 = 1280

// subnets are a bridge's addresses, with the prefix length of their subnets; the zero Prefix: none of that family.
type subnets struct{ ipv4, ipv6 netip.Prefix }

// setSubnets sets the subnets with the part that addresses are given out of.
func (e *Engine) setSubnets(n *bridged.Network, s subnets) error {
	err := setSubnet(n, bridged.Subnet{Prefix: s.ipv4.Masked(), Gateway: s.ipv4.Addr(), Range: e.cfg.FixedCIDR, Aux: e.furtherAddresses(n.Bridge, s.ipv4)})
	if err != nil {
		return bridged.Errorf(bridged.ErrInvalid, "--fixed-cidr %s does not fit to %s of %s: %w", e.cfg.FixedCIDR, s.ipv4, n.Bridge, err)
	}
	if s.ipv6.IsValid() {
		part := e.cfg.FixedCIDR6
		if part == s.ipv6.Masked() {
			part = netip.Prefix{}
		}
		err := setSubnet(n, bridged.Subnet{Prefix: s.ipv6.Masked(), Gateway: s.ipv6.Addr(), Range: part, Aux: e.furtherAddresses(n.Bridge, s.ipv6)})
		if err != nil {
			return bridged.Errorf(bridged.ErrInvalid, "--fixed-cidr-v6 %s does not fit to %s of %s: %w", part, s.ipv6, n.Bridge, err)
		}
	}
	return e.chooseSubnets(e.index, n, nil) // none is left to be chosen
}

// furtherAddresses are what a bridge has beside its gateway address in the same subnet, as the primary one of a given bridge has secondary
// ones: no sandbox may have them.
func (e *Engine) furtherAddresses(bridge string, gateway netip.Prefix) map[string]netip.Addr {
	l, ok := e.facts.link(bridge)
	if !ok {
		return nil
	}
	further := make(map[string]netip.Addr)
	for _, p := range e.facts.addressesOf(l.Index, gateway.Addr().Is6()) {
		if p.Addr() != gateway.Addr() && gateway.Contains(p.Addr()) {
			further[bridge+" "+p.Addr().String()] = p.Addr()
		}
	}
	if len(further) == 0 {
		return nil // as it is read from a file
	}
	return further
}

// existingBridge is -b NAME: a bridge that somebody made, with the addresses that it has.
func (e *Engine) existingBridge(n *bridged.Network, old bridged.Network) (subnets, error) {
	l, ok := e.facts.link(n.Bridge)
	switch {
	case !ok:
		return subnets{}, bridged.Errorf(bridged.ErrNotFound, "bridge not found: %s", n.Bridge)
	case l.Kind != "bridge":
		return subnets{}, notABridge(l)
	case !e.cfg.ICC && e.facts.bridgeFilter && slices.ContainsFunc(e.facts.portsOf(l.Index), foreign):
		return subnets{}, bridged.Errorf(bridged.ErrConflict,
			"--icc=false on %s would also cut off ports that are not ours while net.bridge.bridge-nf-call-iptables or bridge-nf-call-ip6tables is 1: set both to 0, or use a bridge of our own", n.Bridge)
	}
	n.Given = !(l.Ours() && old.Bridge == n.Bridge)
	n.BridgeMAC = bridged.MAC(l.MAC)
	n.MTU = min(n.MTU, l.MTU)
	if !l.Up {
		e.warn("bridge " + n.Bridge + " is down: its sandboxes reach nobody until somebody brings it up")
	}
	addresses := e.facts.addressesOf(l.Index, false)
	if len(addresses) == 0 {
		return subnets{}, bridged.Errorf(bridged.ErrInvalid, "bridge %s has no IPv4 address: give it one, its sandboxes get theirs from its subnet", n.Bridge)
	}
	if len(addresses) > 1 {
		e.warn("bridge " + n.Bridge + " has several IPv4 addresses: its first one, " + addresses[0].String() + ", is used")
	}
	s := subnets{ipv4: addresses[0]}
	if e.cfg.IPv6 {
		addresses := e.facts.addressesOf(l.Index, true)
		if len(addresses) == 0 {
			return subnets{}, bridged.Errorf(bridged.ErrInvalid, "bridge %s has no IPv6 address for --ipv6: give it one, or leave --ipv6 out", n.Bridge)
		}
		s.ipv6 = addresses[0]
	}
	return s, nil
}

// foreign is a port that is none of ours.
func foreign(l link.Link) bool { return !l.Ours() }

func notABridge(l link.Link) error {
	kind := l.Kind
	if kind == "" {
		kind = "link without a kind"
	}
	return bridged.Errorf(bridged.ErrConflict, "%s belongs to something else: it is no bridge but a %s; use --bridge-name or -b none", l.Name, kind)
}

// ownBridge is the bridge that the daemon makes, or has made, or takes over.
func (e *Engine) ownBridge(n *bridged.Network, old bridged.Network) (s subnets, err error) {
	l, exists := e.facts.link(n.Bridge)
	switch {
	case exists && l.Kind != "bridge":
		return s, notABridge(l)
	case exists && !l.Ours():
		if err := e.mayTakeOver(l); err != nil {
			return s, err
		}
		e.takeOver = l.Name
	}
	had := e.formerAddresses(l, exists, n.Bridge, old)
	if s.ipv4, err = e.bridgeAddress4(had.ipv4, n.Bridge); err != nil {
		return s, err
	}
	if e.cfg.IPv6 {
		if s.ipv6, err = e.bridgeAddress6(had.ipv6, n.Bridge); err != nil {
			return s, err
		}
	}
	n.BridgeMAC = bridged.MAC(addr.MACOf(s.ipv4.Addr()))
	return s, nil
}

// former is an address that a bridge has or had: the zero former, none.
type former struct {
	netip.Prefix
	// found: it is on a bridge that is not ours, which is taken over with it.
	found bool
	// kept: it stays where it is, whatever overlaps it now: the bridge is there, or sandboxes count on it.
	kept bool
}

type formers struct{ ipv4, ipv6 former }

// formerAddresses are those that the bridge had when it was ours, or has if it was not.
func (e *Engine) formerAddresses(l link.Link, exists bool, name string, old bridged.Network) (f formers) {
	populated := len(e.index.members[old.ID]) > 0
	if old.Bridge == name {
		kept := exists && l.Ours() || populated
		f.ipv4 = former{Prefix: old.IPv4.GatewayPrefix(), kept: kept}
		f.ipv6 = former{Prefix: old.IPv6.GatewayPrefix(), kept: kept}
	}
	if !exists || populated || l.Ours() && old.Bridge == name {
		return f
	}
	if all := e.facts.addressesOf(l.Index, false); len(all) > 0 {
		f.ipv4 = former{Prefix: all[0], found: !l.Ours(), kept: true}
	}
	if all := e.facts.addressesOf(l.Index, true); len(all) > 0 {
		f.ipv6 = former{Prefix: all[0], found: !l.Ours(), kept: true}
	}
	return f
}

// bridgeAddress4 is --bip, else what the bridge had unless that overlaps now, else the first candidate that does not.
func (e *Engine) bridgeAddress4(had former, name string) (netip.Prefix, error) {
	switch {
	case e.cfg.BIP.IsValid():
		return e.cfg.BIP, had.agrees(e.cfg.BIP)
	case had.IsValid() && had.kept:
		e.warnOverlap(bridged.NetworkBridge, had)
		return had.Prefix, nil
	}
	return e.freeCandidate(had.Prefix, name)
}

// bridgeAddress6 is --bip6, else in --fixed-cidr-v6, else what it had unless that overlaps now, else in the first free /64 of this host's
// ULA prefix.
func (e *Engine) bridgeAddress6(had former, name string) (netip.Prefix, error) {
	switch {
	case e.cfg.BIP6.IsValid():
		return e.cfg.BIP6, had.agrees(e.cfg.BIP6)
	case e.cfg.FixedCIDR6.IsValid():
		p := netip.PrefixFrom(ipam.FirstHost(e.cfg.FixedCIDR6), e.cfg.FixedCIDR6.Bits())
		return p, had.agrees(p)
	case had.IsValid() && had.kept:
		e.warnOverlap(bridged.NetworkBridge, had)
		return had.Prefix, nil
	case had.IsValid():
		p, skipped, err := hostcheck.Choose([]netip.Prefix{had.Prefix}, e.free)
		e.logSkipped(skipped)
		if err == nil {
			return p, nil
		}
	}
	p, err := ipam.Choose([]ipam.Block{{Base: e.ula, Size: 64}}, append(e.index.prefixes(), e.facts.taken.Prefixes()...))
	if err != nil {
		return netip.Prefix{}, bridged.Errorf(bridged.ErrConflict, "no IPv6 subnet is free for %s: %w; name one with --bip6", name, err)
	}
	return netip.PrefixFrom(ipam.FirstHost(p), p.Bits()), nil
}

// agrees refuses another address than the one that was found on somebody's bridge.
func (had former) agrees(wanted netip.Prefix) error {
	if !had.found || had.Prefix == wanted {
		return nil
	}
	return bridged.Errorf(bridged.ErrConflict, "bridge ip (%s) does not match existing bridge configuration %s", wanted, had.Prefix)
}

// warnOverlap: what existed is kept, whatever it overlaps with now. A bridge that was just found has its own route.
func (e *Engine) warnOverlap(network string, had former) {
	if had.found {
		return
	}
	if err := e.facts.taken.Check(had.Masked()); err != nil {
		e.warn("network " + network + " is kept as it was, although its subnet is in use: " + err.Error())
		e.events.add(bridged.Event{Type: bridged.EventNetwork, Action: "overlap", ID: e.index.networkNames[network], Name: network,
			Attributes: map[string]string{"subnet": had.Masked().String(), "reason": err.Error()}})
	}
}

// warnOverlaps is warnOverlap for the networks that users made.
func (e *Engine) warnOverlaps() {
	for _, id := range sortedKeys(e.index.Networks) {
		n := e.index.Networks[id]
		if n.Name == bridged.NetworkBridge {
			continue
		}
		for _, s := range n.Subnets() {
			e.warnOverlap(n.Name, former{Prefix: s.Prefix})
		}
	}
}

// mayTakeOver: a bridge with the default name that is not ours by state is taken over when nothing is on it and no other engine
// works with it.
func (e *Engine) mayTakeOver(l link.Link) error {
	owner := ""
	if ports := e.facts.portsOf(l.Index); len(ports) > 0 {
		owner = "somebody who has " + ports[0].Name + " on it"
	} else if l.Name == "docker0" && dockerRuns() {
		owner = "the Docker Engine that runs here"
	}
	if owner == "" {
		return nil
	}
	return bridged.Errorf(bridged.ErrConflict, "%s belongs to %s; use --bridge-name or -b none", l.Name, owner)
}

// dockerRuns says whether a Docker Engine has its socket here.
func dockerRuns() bool {
	_, err := os.Stat("/run/docker.sock")
	return err == nil
}

// freeCandidate is the bridge's address: the former one unless it overlaps now, else the first candidate that does not.
func (e *Engine) freeCandidate(former netip.Prefix, name string) (netip.Prefix, error) {
	candidates := ipam.LegacyCandidates()
	if former.IsValid() {
		candidates = append([]netip.Prefix{former}, candidates...)
	}
	chosen, skipped, err := hostcheck.Choose(candidates, e.free)
	e.logSkipped(skipped)
	if err != nil {
		return netip.Prefix{}, bridged.Errorf(bridged.ErrConflict,
			"Could not find a free IP address range for interface '%s'. Please configure its address manually and run 'bridged daemon -b %[1]s'", name)
	}
	return chosen, nil
}

// free says what a candidate of the default network overlaps with.
func (e *Engine) free(candidate netip.Prefix) error {
	if err := e.facts.taken.Check(candidate.Masked()); err != nil {
		return err
	}
	return e.overlapsNetwork(candidate)
}

func (e *Engine) logSkipped(skipped []hostcheck.Skipped) {
	for _, s := range skipped {
		e.log.Info("subnet skipped", "network", bridged.NetworkBridge, "candidate", s.Candidate, "reason", s.Reason)
	}
}

// overlapsNetwork holds a candidate of the default network against the other networks, and against what is reserved for such.
func (e *Engine) overlapsNetwork(p netip.Prefix) error {
	for _, n := range e.index.Networks {
		for _, s := range n.Subnets() {
			if n.Name != bridged.NetworkBridge && s.Prefix.Overlaps(p) {
				return bridged.Errorf(bridged.ErrConflict, "requested network %s overlaps with %s of network %s", p.Masked(), s.Prefix, n.Name)
			}
		}
	}
	for reserved := range e.index.reservations {
		if reserved.Overlaps(p) {
			return bridged.Errorf(bridged.ErrConflict, "requested network %s overlaps with %s, which is reserved", p.Masked(), reserved)
		}
	}
	return nil
}

// checkMove refuses what would take the network away from running sandboxes.
func (e *Engine) checkMove(old, n bridged.Network) error {
	if old.ID == "" {
		return nil
	}
	moves := n.Bridge != old.Bridge || n.IPv4.GatewayPrefix() != old.IPv4.GatewayPrefix() ||
		old.IPv6.Valid() && n.IPv6.GatewayPrefix() != old.IPv6.GatewayPrefix()
	members := e.index.memberNames(old.ID)
	if !moves || len(members) == 0 {
		return nil
	}
	return bridged.Errorf(bridged.ErrConflict,
		"the flags would move the default network from %s to %s, and %s would lose their network: remove these sandboxes first, or start with the former flags",
		place(old), place(n), strings.Join(members, ", "))
}

// place is where a network is, for people.
func place(n bridged.Network) string {
	var addresses []string
	for _, s := range n.Subnets() {
		addresses = append(addresses, s.GatewayPrefix().String())
	}
	return strings.Join(addresses, " and ") + " on " + n.Bridge
}
