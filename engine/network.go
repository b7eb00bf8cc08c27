package engine

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/ordered"
	"github.com/bridged/bridged/ipam"
)

// CreateNetwork makes a network with its bridge, in one transaction. When it fails, nothing is left of it. A name or an id that is taken is
// [bridged.ErrConflict].
func (e *Engine) CreateNetwork(ctx context.Context, spec bridged.NetworkSpec) (_ bridged.NetworkInfo, warnings []string, err error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return bridged.NetworkInfo{}, nil, err
	}
	defer leave()
	n, err := e.newNetwork(spec)
	if err != nil {
		return bridged.NetworkInfo{}, nil, err
	}
	defer e.locks.lock("network " + n.Name)()
	return e.makeNetwork(ctx, n)
}

// makeNetwork makes a network that was checked. The caller holds its lock.
func (e *Engine) makeNetwork(ctx context.Context, n bridged.Network) (_ bridged.NetworkInfo, warnings []string, err error) {
	host, err := e.hostUse()
	if err == nil {
		warnings, err = host.check(n)
	}
	if err != nil {
		return bridged.NetworkInfo{}, nil, fmt.Errorf("cannot create network %s: %w", n.Name, err)
	}
	asked, kept := n, false
	err = e.transactWhenFree(ctx, func(x *index) (bridged.Change, error) {
		n = asked // not what was chosen the last time, which somebody may have by now
		if _, taken := x.networkNames[n.Name]; taken {
			return bridged.Change{}, bridged.Errorf(bridged.ErrConflict, "network with name %s already exists", n.Name)
		}
		if _, taken := x.Networks[n.ID]; taken {
			return bridged.Change{}, bridged.Errorf(bridged.ErrConflict, "network with id %s already exists", n.ID)
		}
		if id, taken := x.bridges[n.Bridge]; taken { // before the kernel refuses it: what a failure takes back is done to the bridge of that name
			return bridged.Change{}, bridged.Errorf(bridged.ErrConflict, "bridge %s is that of network %s: choose another name", n.Bridge, x.Networks[id].Name)
		}
		if err := e.chooseSubnets(x, &n, host.space); err != nil {
			return bridged.Change{}, err
		}
		x.takeRanges(&n)
		n.BridgeMAC = bridgeMAC(n)
		x.keepSubnets(n)
		kept = true
		return bridged.Change{
			Networks:   map[string]*bridged.Network{n.ID: &n},
			Forwarding: e.forwardingFor(x, n),
		}, nil
	})
	if kept {
		e.freeSubnets(n.ID)
	}
	if err != nil {
		return bridged.NetworkInfo{}, nil, fmt.Errorf("cannot create network %s: %w", n.Name, err)
	}
	e.ensureForwarding(ctx, n)
	e.tell("network created", "network", n.Name, "link", n.Bridge)
	return bridged.NetworkInfo{Network: n}, warnings, nil
}

// bridgeMAC is the MAC for a network's bridge: made of its gateway's address, or random where the gateway is another host's.
func bridgeMAC(n bridged.Network) bridged.MAC {
	if subnets := n.Subnets(); len(subnets) > 0 && !n.NoAddress {
		return bridged.MAC(addr.MACOf(subnets[0].Gateway))
	}
	return randomMAC()
}

// newNetwork checks the request as far as it can be without the state.
func (e *Engine) newNetwork(spec bridged.NetworkSpec) (bridged.Network, error) {
	n := bridged.Network{
		ID: cmp.Or(spec.ID, bridged.NewID()), Name: spec.Name, Created: time.Now().UTC(), Driver: bridged.DriverBridge,
		Bridge: bridged.NewLinkName(bridged.BridgePrefix), MTU: e.mtu(), Internal: spec.Internal,
		ICC: true, Masquerade: true, SourceGuard: true, Labels: spec.Labels,
	}
	if err := cmp.Or(bridged.CheckID("network", n.ID), bridged.CheckName("network", n.Name)); err != nil {
		return n, err
	}
	if n.Predefined() {
		return n, bridged.Errorf(bridged.ErrConflict, "network with name %s already exists: it is one of those that are there from the start", n.Name)
	}
	if spec.Driver != "" && spec.Driver != string(bridged.DriverBridge) {
		return n, bridged.Errorf(bridged.ErrInvalid, "there is no network driver %q to create a network with: use bridge", spec.Driver)
	}
	if spec.NoIPv4 && !spec.IPv6 {
		return n, bridged.Errorf(bridged.ErrInvalid, "network %s would have neither IPv4 nor IPv6", n.Name)
	}
	if err := n.SetOptions(spec.Options); err != nil {
		return n, err
	}
	if err := e.checkRules(n); err != nil {
		return n, err
	}
	for _, s := range spec.Subnets {
		if err := setSubnet(&n, s); err != nil {
			return n, err
		}
	}
	if spec.NoIPv4 && n.IPv4.Valid() {
		return n, bridged.Errorf(bridged.ErrInvalid, "network %s has the IPv4 subnet %s, but IPv4 is off", n.Name, n.IPv4.Prefix)
	}
	// What is still missing is chosen under the lock: the wildcard prefix says that the family is wanted.
	if !n.IPv4.Valid() && !spec.NoIPv4 {
		n.IPv4.Prefix = anyPrefix4
	}
	if !n.IPv6.Valid() && spec.IPv6 {
		n.IPv6.Prefix = anyPrefix6
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return n, e.lacks.refuse(n)
}

// checkRules refuses what a network can't be without packet filter rules.
func (e *Engine) checkRules(n bridged.Network) error {
	switch {
	case n.Internal:
		return e.needFirewall("an internal network")
	case !n.ICC:
		return e.needFirewall("a network without ICC")
	case n.Options[bridged.OptionSourceGuard] != "" && n.SourceGuard:
		return e.needFirewall("a source guard")
	}
	return nil
}

var (
	anyPrefix4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	anyPrefix6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// setSubnet checks a subnet and sets it on the network, with the default gateway when none is given.
func setSubnet(n *bridged.Network, s bridged.Subnet) error {
	if !s.Prefix.IsValid() {
		return bridged.Errorf(bridged.ErrInvalid, "a subnet needs a prefix, as in 192.168.1.0/24")
	}
	family := &n.IPv4
	if !s.Prefix.Addr().Is4() {
		family = &n.IPv6
	}
	if family.Valid() {
		return bridged.Errorf(bridged.ErrInvalid, "subnets %s and %s are of the same family: a network has one a family", family.Prefix, s.Prefix)
	}
	if s.Prefix.Bits() == 0 || s.Prefix.Addr().IsLoopback() || s.Prefix.Addr().IsMulticast() || s.Prefix.Addr().IsUnspecified() {
		return bridged.Errorf(bridged.ErrInvalid, "subnet %s can't be a network's: use a private one, as 192.168.1.0/24 or fd00:1::/64", s.Prefix)
	}
	s.Prefix = s.Prefix.Masked()
	c := poolConfig(s)
	if !c.Gateway.IsValid() {
		c.Gateway = ipam.DefaultGateway(c)
		s.Gateway = c.Gateway
	}
	if _, err := ipam.New(c); err != nil {
		return bridged.Errorf(bridged.ErrInvalid, "invalid subnet %s: %w", s.Prefix, err)
	}
	*family = s
	return nil
}

// poolConfig is the configuration of a subnet's address pool.
func poolConfig(s bridged.Subnet) ipam.Config {
	c := ipam.Config{Prefix: s.Prefix, Range: s.Range, Gateway: s.Gateway, Aux: s.Aux}
	for _, r := range s.Ranges {
		c.Ranges = append(c.Ranges, ipam.Range(r))
	}
	return c
}

// chooseSubnets gives a network the subnets that it wants and did not name, out of what the host leaves, and refuses those that overlap
// another network's.
func (e *Engine) chooseSubnets(x *index, n *bridged.Network, host *addressSpace) error {
	for _, mine := range n.Subnets() {
		if mine.Prefix.Bits() == 0 || x.reservations[mine.Prefix] != "" && x.ownerOf(mine.Prefix).ID == "" {
			continue // to be chosen, or reserved for it
		}
		if err := x.overlaps(mine.Prefix, n.ID); err != nil {
			return err
		}
	}
	left := x.networksLeft()
	for _, l := range left {
		if err := l.inTheWay(*n); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		subnet *bridged.Subnet
		wanted netip.Prefix
		ipv6   bool
	}{{&n.IPv4, anyPrefix4, false}, {&n.IPv6, anyPrefix6, true}} {
		if f.subnet.Prefix != f.wanted {
			continue
		}
		p, err := e.freeSubnet(x, f.ipv6, host, left)
		if err != nil {
			return bridged.Errorf(bridged.ErrConflict, "no subnet is free for network %s: %w; name one with --subnet", n.Name, err)
		}
		*f.subnet = bridged.Subnet{}
		if err := setSubnet(n, bridged.Subnet{Prefix: p}); err != nil {
			return err
		}
	}
	return nil
}

// overlaps is the error for a prefix that overlaps with another network's subnet, or with one that is reserved. Nil: with none.
func (x *index) overlaps(p netip.Prefix, network string) error {
	o, taken := x.subnets.overlap(p)
	if !taken || o.owner == network {
		return nil
	}
	if n, ok := x.Networks[o.owner]; ok {
		return bridged.Errorf(bridged.ErrConflict, "subnet %s overlaps with %s of network %s", p, o.Prefix, n.Name)
	}
	return bridged.Errorf(bridged.ErrConflict, "subnet %s overlaps with %s, which is reserved; if nobody needs that any more, remove it with network rm %s",
		p, o.Prefix, o.owner)
}

// freeSubnet is the first subnet of the blocks of a family, in their order, that nobody has: no network, not one on its way out, and not the
// host.
func (e *Engine) freeSubnet(x *index, ipv6 bool, host *addressSpace, left []leavingNetwork) (netip.Prefix, error) {
	if len(left) > 0 {
		taken := host.prefixes()
		for _, l := range left {
			for _, s := range l.Subnets() {
				taken = append(taken, s.Prefix)
			}
		}
		host = outermost(taken)
	}
	blocks := e.blocks(ipv6)
	for _, b := range blocks {
		if err := b.Check(); err != nil {
			return netip.Prefix{}, err
		}
		if p, ok := x.subnets.choose(b, host); ok {
			return p, nil
		}
	}
	if len(left) > 0 {
		return netip.Prefix{}, left[0].error()
	}
	return netip.Prefix{}, fmt.Errorf("%w: all of %v overlap with a network or a route that exists", ipam.ErrExhausted, blocks)
}

// blocks are what subnets of one family are cut from.
func (e *Engine) blocks(ipv6 bool) []ipam.Block {
	var blocks []ipam.Block
	for _, p := range e.cfg.Pools {
		if p.Base.Addr().Is6() == ipv6 {
			blocks = append(blocks, ipam.Block{Base: p.Base, Size: p.Size})
		}
	}
	switch {
	case len(blocks) > 0:
		return blocks
	case ipv6:
		return []ipam.Block{{Base: e.ula, Size: 64}}
	}
	return ipam.DefaultBlocks()
}

// forwardingFor says which families' forwarding the network needs, when they are not on: we switch them on then, and remember
// it. Nil: nothing changes.
func (e *Engine) forwardingFor(x *index, n bridged.Network) *bridged.Forwarding {
	f := x.Forwarding
	if e.mayForward() {
		f.IPv4 = f.IPv4 || n.IPv4.Valid() && !e.facts.forwarding.IPv4
		f.IPv6 = f.IPv6 || n.IPv6.Valid() && !e.facts.forwarding.IPv6
	}
	if f == x.Forwarding {
		return nil
	}
	return &f
}

// keepForwarding takes nothing back that another network has come to rely on. The caller holds e.mu.
func (e *Engine) keepForwarding(back *bridged.Change) {
	if back.Forwarding == nil {
		return
	}
	f := *back.Forwarding
	for id, n := range e.index.Networks {
		if gone, touched := back.Networks[id]; touched && gone == nil {
			continue
		}
		f.IPv4 = f.IPv4 || e.index.Forwarding.IPv4 && n.IPv4.Valid()
		f.IPv6 = f.IPv6 || e.index.Forwarding.IPv6 && n.IPv6.Valid()
	}
	back.Forwarding = &f
}

// ensureForwarding switches on what the network needs: another request may have promised it, and failed before it came to that.
func (e *Engine) ensureForwarding(ctx context.Context, n bridged.Network) {
	e.mu.Lock()
	f := e.index.Forwarding
	e.mu.Unlock()
	var p Plan
	if f.IPv4 && n.IPv4.Valid() {
		p = append(p, forward{})
	}
	if f.IPv6 && n.IPv6.Valid() {
		p = append(p, forward{ipv6: true})
	}
	if _, err := e.carryOut(ctx, p); err != nil {
		e.log.Error("cannot switch forwarding on", "error", err)
	}
}

// mayForward: without a packet filter, forwarding that we switch on makes a router of the host: only when the user wants that.
func (e *Engine) mayForward() bool {
	return e.cfg.IPForward && (!e.cfg.NoFirewall || e.cfg.IPForwardNoDrop)
}

func (e *Engine) mtu() int {
	switch {
	case e.cfg.MTU != 0:
		return e.cfg.MTU
	case e.facts.mtu != 0:
		return e.facts.mtu
	}
	return 1500
}

// hostIP is the default host address of published ports; the zero Addr for every address of both families.
func (e *Engine) hostIP() netip.Addr {
	if e.cfg.IP.IsUnspecified() {
		return netip.Addr{}
	}
	return e.cfg.IP
}

// RemoveNetwork removes a network that nothing is in, with the reservations of its subnets: a caller that knows of these has given them back before.
// A network in use is [bridged.ErrConflict], with its members named. The id of a reservation that no network has removes that, on
// the user's word.
func (e *Engine) RemoveNetwork(ctx context.Context, ref string) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	e.mu.Lock()
	n, err := e.index.network(ref)
	r, reserved := e.index.Reservations[ref]
	owner := e.index.ownerOf(r.Prefix)
	e.mu.Unlock()
	switch {
	case reserved && owner.ID != "":
		return bridged.Errorf(bridged.ErrConflict, "subnet %s is reserved for network %s: remove that", r.Prefix, owner.Name)
	case reserved:
		return e.releasePool(ctx, ref)
	case err != nil:
		return err
	}
	if n.Predefined() {
		return bridged.Errorf(bridged.ErrDenied, "%s is a pre-defined network and cannot be removed", n.Name)
	}
	defer e.locks.lock("network " + n.Name)()
	return e.unmakeNetwork(ctx, n)
}

// unmakeNetwork removes a network that nothing is in. The caller holds its lock.
func (e *Engine) unmakeNetwork(ctx context.Context, n bridged.Network) error {
	for _, s := range n.Subnets() {
		defer e.lockReservation(s.Prefix)()
	}
	// Its ports go behind the answers of others; a bridge must not go before them.
	if err := e.pairs.wait(ctx, func(p pair) bool { return p.Bridge == n.Bridge }); err != nil {
		return err
	}
	err := e.transactWhenFree(ctx, func(x *index) (bridged.Change, error) {
		if _, ok := x.Networks[n.ID]; !ok {
			return bridged.Change{}, bridged.Errorf(bridged.ErrNotFound, "network %s not found", n.Name)
		}
		if members := x.memberNames(n.ID); len(members) > 0 {
			return bridged.Change{}, bridged.Errorf(bridged.ErrConflict, "network %s has active endpoints: %s; remove or disconnect them first",
				n.Name, strings.Join(members, ", "))
		}
		if err := x.leavingOf(n.ID); err != nil {
			return bridged.Change{}, err
		}
		x.keepSubnets(n)
		c := bridged.Change{Networks: map[string]*bridged.Network{n.ID: nil}}
		for _, s := range n.Subnets() {
			if r, reserved := x.Reservations[x.reservations[s.Prefix]]; reserved {
				x.unreserve(r, &c)
			}
		}
		return c, nil
	})
	e.freeSubnets(n.ID)
	if err != nil {
		return err
	}
	e.tell("network removed", "network", n.Name, "link", n.Bridge)
	return nil
}

func (x *index) memberNames(network string) []string {
	var names []string
	for id := range x.members[network] {
		names = append(names, x.stackName(x.Endpoints[id].Sandbox))
	}
	slices.Sort(names)
	return names
}

// Network is one network, by name, id or unique prefix of the id.
func (e *Engine) Network(ref string) (bridged.NetworkInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, err := e.index.network(ref)
	if err != nil {
		return bridged.NetworkInfo{}, err
	}
	return e.index.networkInfo(n), nil
}

// FindNetwork is Network without the members, however many there are.
func (e *Engine) FindNetwork(ref string) (bridged.Network, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.index.network(ref)
}

// Networks lists all networks in the order of their names.
func (e *Engine) Networks() []bridged.NetworkInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	infos := make([]bridged.NetworkInfo, 0, len(e.index.Networks))
	for _, n := range e.index.Networks {
		infos = append(infos, e.index.networkInfo(n))
	}
	ordered.Sort(infos, func(a, b bridged.NetworkInfo) int { return strings.Compare(a.Name, b.Name) })
	return infos
}

func (x *index) networkInfo(n bridged.Network) bridged.NetworkInfo {
	info := bridged.NetworkInfo{Network: n}
	for id := range x.members[n.ID] {
		ep := x.Endpoints[id]
		info.Members = append(info.Members, bridged.Member{Endpoint: ep, SandboxName: x.stackName(ep.Sandbox)})
	}
	ordered.Sort(info.Members, func(a, b bridged.Member) int { return strings.Compare(a.SandboxName, b.SandboxName) })
	return info
}
