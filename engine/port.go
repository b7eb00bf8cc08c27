package engine

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/conntrack"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/internal/ordered"
)

// claim is a port specification with the host's side found: reserved in the book and on the host.
type claim struct {
	container uint16
	bindings  []bridged.Binding // one a family, with the same number
}

// claimPorts reserves the host's side of each specification, all of them or none.
func (e *Engine) claimPorts(ctx context.Context, o outlets, specs []bridged.PortSpec) ([]claim, error) {
	if len(specs) > 0 {
		if err := e.needFirewall("published ports"); err != nil {
			return nil, err
		}
	}
	claims := make([]claim, 0, len(specs))
	for _, s := range specs {
		bindings, _, err := e.claimPort(ctx, o, s, nil)
		if err != nil {
			e.book.free(bindingsOf(claims))
			return nil, err
		}
		claims = append(claims, claim{container: s.ContainerPort, bindings: bindings})
	}
	return claims, nil
}

func bindingsOf(claims []claim) []bridged.Binding {
	var b []bridged.Binding
	for _, c := range claims {
		b = append(b, c.bindings...)
	}
	return b
}

// claimPort tries the candidates of one specification in their order. Bindings that are held need not be reserved; those that were are fresh.
func (e *Engine) claimPort(ctx context.Context, o outlets, s bridged.PortSpec, held map[bridged.Binding]bridged.Port) (bindings, fresh []bridged.Binding, err error) {
	hostIPs, err := e.hostIPs(o, s)
	if err != nil {
		return nil, nil, err
	}
	candidates, err := e.candidates(s.HostPort)
	if err != nil {
		return nil, nil, err
	}
	var first error
	for port := range preferring(held, s, candidates) {
		bindings, fresh := make([]bridged.Binding, len(hostIPs)), make([]bridged.Binding, 0, len(hostIPs))
		for i, ip := range hostIPs {
			bindings[i] = bridged.Binding{HostIP: ip, Proto: s.Proto, HostPort: port}
			if _, ok := held[bindings[i]]; !ok {
				fresh = append(fresh, bindings[i])
			}
		}
		err := e.reservePorts(ctx, fresh)
		switch {
		case err == nil:
			return bindings, fresh, nil
		case s.Fixed(), bridged.Code(err) != "conflict":
			return nil, nil, fmt.Errorf("%w", err) // with its text: who has the port is looked for now, while the engine is open
		case first == nil:
			first = err
		}
	}
	if s.HostPort == (bridged.PortRange{}) {
		return nil, nil, bridged.Errorf(bridged.ErrConflict, "no free host port is left for %s: every port of net.ipv4.ip_local_port_range is taken", s)
	}
	return nil, nil, bridged.Errorf(bridged.ErrConflict, "no free host port is left in %s for %s: %w", s.HostPort, s, first)
}

// preferring are the host ports that a container's port has already, and then the candidates.
func preferring(held map[bridged.Binding]bridged.Port, s bridged.PortSpec, candidates iter.Seq[uint16]) iter.Seq[uint16] {
	if s.Fixed() || len(held) == 0 {
		return candidates
	}
	var had []uint16
	for b, p := range held {
		if b.Proto == s.Proto && p.ContainerPort == s.ContainerPort && s.HostPort.Has(b.HostPort) {
			had = append(had, b.HostPort)
		}
	}
	slices.Sort(had)
	return func(yield func(uint16) bool) {
		for _, port := range had {
			if !yield(port) {
				return
			}
		}
		candidates(yield)
	}
}

// hostIPs are the host addresses of a publication, one a family.
func (e *Engine) hostIPs(o outlets, s bridged.PortSpec) ([]netip.Addr, error) {
	ip := s.HostIP
	if !ip.IsValid() {
		ip = o.ipv4.Network.HostIP
	}
	if !ip.IsValid() {
		ip = e.hostIP()
	}
	if !ip.IsValid() {
		return o.wildcards(), nil
	}
	switch {
	case ip == netip.IPv6Loopback():
		return nil, bridged.Errorf(bridged.ErrInvalid,
			"cannot publish %s: [::1] can't be reached by DNAT (IPv6 has no route_localnet); use 127.0.0.1 or another address of the host", s)
	case ip.IsMulticast(), ip.IsLinkLocalUnicast() && ip.Is6(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return nil, bridged.Errorf(bridged.ErrInvalid, "cannot publish %s: %s is no address that a port can be published on", s, ip)
	}
	if here, other := o.of(ip.Is6()), o.of(!ip.Is6()); !here.Network.Subnet(ip.Is6()).Valid() {
		family := "IPv4"
		if ip.Is6() {
			family = "IPv6"
		}
		return nil, bridged.Errorf(bridged.ErrInvalid, "cannot publish %s: network %s has no %s", s, other.Network.Name, family)
	}
	return []netip.Addr{ip}, nil
}

// candidates are the host ports to try. Ports to choose come from the ephemeral range, beginning anywhere in it, so that one that
// was just given back is not the next one given out.
func (e *Engine) candidates(r bridged.PortRange) (iter.Seq[uint16], error) {
	if r != (bridged.PortRange{}) {
		return func(yield func(uint16) bool) {
			for p := int(r.First); p <= int(r.Last) && yield(uint16(p)); p++ {
			}
		}, nil
	}
	first, last, reserved, err := e.host.ephemeral()
	if err != nil {
		return nil, fmt.Errorf("cannot read the ephemeral port range: %w", err)
	}
	count := int(last) - int(first) + 1
	start := rand.IntN(count)
	return func(yield func(uint16) bool) {
		for i := range count {
			if p := first + uint16((start+i)%count); !reserved(p) && !yield(p) {
				return
			}
		}
	}, nil
}

// reservePorts takes the bindings in the book, then on the host. A port that is just draining is waited for.
func (e *Engine) reservePorts(ctx context.Context, bindings []bridged.Binding) error {
	for {
		other, drained, ok := e.book.take(bindings)
		if ok {
			break
		}
		if drained == nil {
			return bridged.Errorf(bridged.ErrConflict, "%s: port is already allocated", bindFailed(other))
		}
		e.purges.hurry()
		select {
		case <-drained:
		case <-e.unpurged:
			return errEnding()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	sockets, err := e.host.reserve(bindings)
	e.book.keep(bindings, sockets)
	if err == nil {
		e.stocks.add(bindings...)
		return nil
	}
	e.book.free(bindings)
	return translate(&bindError{bindings[len(sockets)], err})
}

// restock makes what the next reservations will be made with.
func (e *Engine) restock(bindings []bridged.Binding) {
	if err := e.host.restock(bindings); err != nil {
		e.log.Debug("cannot make sockets for the next ports; they are made when they are needed", "error", err)
	}
}

// reserveAtOnce is how many ports are reserved in one visit to the host's namespace.
const reserveAtOnce = 256

// hold reserves the host's side of ports that a former daemon published, which are in the book already. One that another process took meanwhile
// stays published, with a warning.
func (e *Engine) hold(bindings []bridged.Binding) {
	for len(bindings) > 0 {
		sockets, err := e.host.reserve(bindings[:min(len(bindings), reserveAtOnce)])
		e.book.keep(bindings, sockets)
		bindings = bindings[len(sockets):]
		if err != nil {
			e.warnTaken(bindings[0], err)
			bindings = bindings[1:]
		}
	}
	failpoint.Reached("start: ports reserved")
}

// warnTaken says that the host's side of a published port could not be reserved.
func (e *Engine) warnTaken(b bridged.Binding, err error) {
	e.mu.Lock()
	p, published := e.index.Ports[b]
	name := e.index.stackName(p.Sandbox)
	e.mu.Unlock()
	if published {
		e.warn(fmt.Sprintf("port %s of sandbox %s stays published, but the host's own port is taken: %v", p, name, translate(fmt.Errorf("%s: %w", bindFailed(b), err))))
	}
}

// bindFailed is Docker's text.
func bindFailed(b bridged.Binding) string {
	return fmt.Sprintf("Bind for %s failed", netip.AddrPortFrom(b.HostIP, b.HostPort))
}

// drainPorts gives back ports that were published: behind the answer their connections are purged, then they are free.
func (e *Engine) drainPorts(ports []bridged.Port) {
	purges := make([]purge, len(ports))
	bindings := make([]bridged.Binding, len(ports))
	for i, p := range ports {
		bindings[i] = p.Binding
		purges[i] = purge{flow: flowOf(p.Binding), binding: p.Binding}
	}
	e.book.drain(bindings)
	e.purges.add(purges...)
}

func flowOf(b bridged.Binding) conntrack.Flow {
	return conntrack.Flow{Proto: uint8(b.Proto), HostIP: b.HostIP, HostPort: b.HostPort}
}

// purgeBypassing removes connections that began before their port was published and would go on past it. TCP has none: a new
// connection begins with a SYN, for which conntrack starts anew.
func (e *Engine) purgeBypassing(claims []claim) {
	var purges []purge
	for _, b := range bindingsOf(claims) {
		if b.Proto != bridged.TCP {
			purges = append(purges, purge{flow: flowOf(b)})
		}
	}
	e.purges.add(purges...)
}

// AddPorts publishes ports of a sandbox, all of them or none, in one transaction, and returns them in the order asked for. The
// sandbox is named by name, id or unique prefix. A taken port is [bridged.ErrConflict].
func (e *Engine) AddPorts(ctx context.Context, ref string, specs []bridged.PortSpec) (added []bridged.PortInfo, warnings []string, err error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	s, unlock, err := e.lockSandbox(ref)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	ports, warnings, err := e.publish(ctx, s.ID, specs, func(x *index) (outlets, error) { return x.publishable(s) })
	for _, p := range ports {
		added = append(added, bridged.PortInfo{Port: p, SandboxName: s.Name})
	}
	return added, warnings, err
}

// publish claims host ports and publishes them for a stack, in one transaction. where is called under the engine's lock.
func (e *Engine) publish(ctx context.Context, stack string, specs []bridged.PortSpec, where func(*index) (outlets, error)) (added []bridged.Port, warnings []string, err error) {
	e.mu.Lock()
	o, err := where(e.index)
	links := e.index.linkLocks(stack)
	e.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	defer e.locks.lockAll(links...)()
	claims, err := e.claimPorts(ctx, o, specs)
	if err != nil {
		return nil, nil, err
	}
	failpoint.Reached("ports claimed")
	ports := o.publication(stack, claims)
	err = e.transact(ctx, func(*index) (bridged.Change, error) { return bridged.Change{Ports: ports}, nil })
	if err != nil {
		e.book.free(bindingsOf(claims))
		return nil, nil, err
	}
	e.purgeBypassing(claims)
	for _, b := range bindingsOf(claims) {
		added = append(added, *ports[b])
	}
	return added, publishWarnings(o, specs), nil
}

// RemovePorts takes back the publications that match the specifications; what a specification leaves open (host address, host
// port) matches all. A specification without a match is [bridged.ErrNotFound], and nothing changes.
func (e *Engine) RemovePorts(ctx context.Context, ref string, specs []bridged.PortSpec) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s, unlock, err := e.lockSandbox(ref)
	if err != nil {
		return err
	}
	defer unlock()
	defer e.lockLinks(s.ID)()
	var gone []bridged.Port
	err = e.transact(ctx, func(x *index) (bridged.Change, error) {
		c := bridged.Change{Ports: make(map[bridged.Binding]*bridged.Port)}
		if err := x.ownStack(s); err != nil {
			return c, err
		}
		for _, spec := range specs {
			found := x.matching(s, spec)
			if len(found) == 0 {
				return c, bridged.Errorf(bridged.ErrNotFound, "sandbox %s does not publish %s", s.Name, spec)
			}
			for _, p := range found {
				if _, twice := c.Ports[p.Binding]; !twice {
					c.Ports[p.Binding] = nil
					gone = append(gone, p)
				}
			}
		}
		return c, nil
	})
	if err != nil {
		return err
	}
	e.drainPorts(gone)
	return nil
}

func (x *index) matching(s bridged.Sandbox, spec bridged.PortSpec) []bridged.Port {
	var found []bridged.Port
	to := stackPort{s.ID, bridged.ProtoPort{Proto: spec.Proto, Port: spec.ContainerPort}}
	for b := range x.reached.of(to) {
		if (!spec.HostIP.IsValid() || spec.HostIP == b.HostIP) && spec.HostPort.Has(b.HostPort) {
			found = append(found, x.Ports[b])
		}
	}
	return found
}

// Ports lists the published ports of one sandbox, or of the leases that are called so or have that key, of all when ref is empty, in the order of
// their bindings.
func (e *Engine) Ports(ref string) ([]bridged.PortInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	infos := []bridged.PortInfo{}
	if ref == "" {
		for _, p := range e.index.Ports {
			infos = append(infos, bridged.PortInfo{Port: p, SandboxName: e.index.stackName(p.Sandbox)})
		}
	} else {
		names, err := e.index.called(ref)
		if err != nil {
			return nil, err
		}
		for stack, name := range names {
			for b := range e.index.ports[stack] {
				infos = append(infos, bridged.PortInfo{Port: e.index.Ports[b], SandboxName: name})
			}
		}
	}
	ordered.Sort(infos, func(a, b bridged.PortInfo) int {
		return cmp.Or(cmp.Compare(a.SandboxName, b.SandboxName), comparePorts(a.Port, b.Port))
	})
	return infos, nil
}

// called are the stacks that people may mean, with their names: the sandbox or the leases that are called just so, else the sandbox whose id begins so.
// Names of leases need not be unique, and one container has one in each of its networks.
func (x *index) called(ref string) (names map[string]string, err error) {
	names = make(map[string]string)
	if !x.isSandbox(ref) {
		for _, e := range x.Endpoints {
			if isLease(e, ref) {
				names[e.Sandbox] = e.Called()
			}
		}
	}
	if len(names) > 0 {
		return names, nil
	}
	s, err := x.sandbox(ref)
	if err != nil {
		return nil, err
	}
	return map[string]string{s.Stack(): s.Name}, nil
}

// isLease says whether an endpoint is a lease with just that key or name.
func isLease(e bridged.Endpoint, ref string) bool {
	return e.Leased() && (e.Sandbox == ref || e.Name == ref)
}

func sortedPorts(m map[bridged.Binding]bridged.Port) []bridged.Port {
	return ordered.Sorted(maps.Values(m), comparePorts)
}

func comparePorts(a, b bridged.Port) int {
	return cmp.Or(
		cmp.Compare(a.ContainerPort, b.ContainerPort),
		cmp.Compare(a.Binding.Proto, b.Binding.Proto),
		a.Binding.HostIP.Compare(b.Binding.HostIP),
		cmp.Compare(a.Binding.HostPort, b.Binding.HostPort),
	)
}
