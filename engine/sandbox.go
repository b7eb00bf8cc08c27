package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/internal/ordered"
)

// namespaceDir is where the namespaces that we make are mounted: the one of iproute2, so that `ip netns` shows them.
const namespaceDir = "/run/netns"

// enter waits until the engine is ready and holds it open for one request that changes something.
func (e *Engine) enter(ctx context.Context) (leave func(), err error) {
	select {
	case <-e.ready:
	case <-ctx.Done():
		return nil, bridged.Errorf(bridged.ErrUnavailable, "the daemon is not ready yet: %w", ctx.Err())
	}
	e.asked.Add(1)
	e.world.RLock()
	if e.closed {
		e.world.RUnlock()
		return nil, errEnding()
	}
	e.underWay.Add(1)
	return e.leave, nil
}

func (e *Engine) leave() {
	e.underWay.Add(-1)
	e.world.RUnlock()
}

func errEnding() error { return bridged.Errorf(bridged.ErrUnavailable, "the daemon is ending") }

// lockSandbox finds a sandbox and locks it.
func (e *Engine) lockSandbox(ref string) (bridged.Sandbox, func(), error) {
	return e.lockAny(ref, false)
}

// lockAny is lockSandbox; with unsettled also for a sandbox that is neither made nor removed completely. Whoever was at it has failed,
// to record that on a full disk, say: it holds no lock any more.
func (e *Engine) lockAny(ref string, unsettled bool) (bridged.Sandbox, func(), error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id, err := find("sandbox", ref, e.index.sandboxNames, e.index.Sandboxes)
	if err != nil {
		return bridged.Sandbox{}, nil, err
	}
	name := "sandbox " + e.index.Sandboxes[id].Name
	unlock, locked := e.locks.tryLock(name)
	if !locked {
		e.mu.Unlock() // whoever is at it wants to get on
		unlock = e.locks.lock(name)
		e.mu.Lock()
	}
	s, ok := e.index.Sandboxes[id] // what happened while we waited for the lock
	if !ok || s.Gone || !s.Settled && !unsettled {
		unlock()
		return bridged.Sandbox{}, nil, bridged.Errorf(bridged.ErrNotFound, "sandbox %s not found", ref)
	}
	return s, unlock, nil
}

// CreateSandbox makes a sandbox and attaches it, with its ports, in one transaction. When it fails, nothing is left of it.
func (e *Engine) CreateSandbox(ctx context.Context, spec bridged.SandboxSpec) (bridged.SandboxInfo, error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return bridged.SandboxInfo{}, err
	}
	defer leave()
	s, network, err := e.newSandbox(spec)
	if err != nil {
		return bridged.SandboxInfo{}, err
	}
	defer e.locks.lock("sandbox " + s.Name)()
	if network.Bridge != "" {
		defer e.locks.rlock("network " + network.Name)()
	}
	if s.Shares != "" {
		defer e.locks.lock("stack " + s.Shares)()
		s.NetNS = e.stackPath(s.Shares)
	}
	if err := e.checkFree(s.Name); err != nil {
		return bridged.SandboxInfo{}, err
	}
	if s.Made && e.host.exists(s.NetNS) {
		return bridged.SandboxInfo{}, bridged.Errorf(bridged.ErrConflict,
			"cannot make namespace %s: it exists already; give it with --netns, or choose another name", s.NetNS)
	}
	if err := e.makeSandbox(ctx, s, network, spec); err != nil {
		return bridged.SandboxInfo{}, err
	}
	e.mu.Lock()
	info := e.index.sandboxInfo(e.index.Sandboxes[s.ID])
	e.mu.Unlock()
	info.Warnings = publishWarnings(outletsOn(network), spec.Ports)
	e.tell("sandbox created", "sandbox", s.Name, "network", network.Name, "ports", len(info.Ports))
	return info, nil
}

// checkFree refuses a name that is a sandbox's, or the key of a lease.
func (e *Engine) checkFree(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, taken := e.index.sandboxNames[name]; taken {
		return bridged.Errorf(bridged.ErrConflict, "sandbox %s exists already: remove it first, or choose another name", name)
	}
	if len(e.index.endpoints[name]) > 0 {
		return bridged.Errorf(bridged.ErrConflict, "%s is the key of a lease: release it first, or choose another name", name)
	}
	return nil
}

// newSandbox checks the request as far as it can be without the sandbox's lock: nothing is touched.
func (e *Engine) newSandbox(spec bridged.SandboxSpec) (bridged.Sandbox, bridged.Network, error) {
	s := bridged.Sandbox{ID: bridged.NewID(), Name: spec.Name, Created: time.Now().UTC(), Mode: bridged.ModeBridge}
	fail := func(err error) (bridged.Sandbox, bridged.Network, error) { return s, bridged.Network{}, err }
	if err := bridged.CheckName("sandbox", spec.Name); err != nil {
		return fail(err)
	}
	if spec.NetNS != "" && spec.PID != 0 {
		return fail(bridged.Errorf(bridged.ErrInvalid, "a sandbox has one namespace: give its path or a pid, not both"))
	}
	if spec.PID < 0 {
		return fail(bridged.Errorf(bridged.ErrInvalid, "invalid pid %d", spec.PID))
	}
	if target, ok := strings.CutPrefix(spec.Network, "container:"); ok {
		s, err := e.newSharing(s, target, spec)
		return s, bridged.Network{}, err
	}
	network, err := e.networkOf(spec)
	if err != nil {
		return fail(err)
	}
	switch network.Driver {
	case bridged.DriverHost:
		s.Mode = bridged.ModeHost
		if spec.NetNS != "" || spec.PID != 0 {
			return fail(bridged.Errorf(bridged.ErrInvalid, "sandbox %s is in mode host: it has the host's namespace and no other", s.Name))
		}
	case bridged.DriverNull:
		s.Mode = bridged.ModeNone
	}
	if s.Mode != bridged.ModeBridge {
		if err := onlyInNetworks(s, spec); err != nil {
			return fail(err)
		}
	}
	switch {
	case s.Mode == bridged.ModeHost:
	case spec.NetNS != "":
		s.NetNS = filepath.Clean(spec.NetNS)
		if !filepath.IsAbs(s.NetNS) {
			return fail(bridged.Errorf(bridged.ErrInvalid, "namespace path %q must be absolute, as in /run/netns/%s", spec.NetNS, spec.Name))
		}
	case spec.PID != 0:
		s.NetNS = fmt.Sprintf("/proc/%d/ns/net", spec.PID)
	default:
		s.Made = true
		s.NetNS = filepath.Join(namespaceDir, s.Name)
	}
	return s, network, nil
}

// networkOf is the network that the request names, or the default one.
func (e *Engine) networkOf(spec bridged.SandboxSpec) (bridged.Network, error) {
	ref := spec.Network
	e.mu.Lock()
	defer e.mu.Unlock()
	if ref == "" {
		ref = bridged.NetworkBridge
		if _, ok := e.index.networkNames[ref]; !ok {
			ref = bridged.NetworkNone
		}
	}
	return e.index.network(ref)
}

// onlyInNetworks refuses what has a meaning only for a sandbox that is in a network.
func onlyInNetworks(s bridged.Sandbox, spec bridged.SandboxSpec) error {
	switch {
	case len(spec.Ports) > 0:
		return bridged.Errorf(bridged.ErrConflict, "cannot publish ports of sandbox %s in mode %s: it has no address of its own", s.Name, s.Mode)
	case spec.IPv4.IsValid(), spec.IPv6.IsValid(), spec.MAC != bridged.MAC{}:
		return bridged.Errorf(bridged.ErrInvalid, "cannot give sandbox %s an address in mode %s", s.Name, s.Mode)
	}
	return nil
}

// makeSandbox makes a sandbox that was checked, with its namespace where none was given. What is recorded on the way is taken back after a crash: nobody was
// told that it exists before it is settled.
func (e *Engine) makeSandbox(ctx context.Context, s bridged.Sandbox, n bridged.Network, spec bridged.SandboxSpec) (err error) {
	switch {
	case s.Made:
		if err := e.putSandbox(ctx, s); err != nil {
			return err
		}
		if s.NSID, err = e.host.makeNamespace(s); err != nil {
			return errors.Join(err, e.forgetSandbox(ctx, s))
		}
	case s.Mode != bridged.ModeHost && s.Shares == "":
		id, letGo, err := e.openNamespace(ctx, s, spec.PID)
		if err != nil {
			return err
		}
		defer letGo()
		s.NSID = id
	}
	if s.Mode == bridged.ModeBridge {
		if err := e.attach(ctx, s, n, spec); err != nil {
			if s.Made {
				err = errors.Join(err, e.forgetSandbox(ctx, s))
			}
			return err // nothing is left of one whose namespace was given
		}
	}
	settled := s
	settled.Settled = true
	err = e.putSandbox(ctx, settled)
	if err != nil && (s.Made || s.Mode == bridged.ModeBridge) { // of others nothing is recorded yet
		err = errors.Join(err, e.forgetSandbox(ctx, s))
	}
	return err
}

func (e *Engine) putSandbox(ctx context.Context, s bridged.Sandbox) error {
	return e.transact(ctx, func(x *index) (bridged.Change, error) {
		return bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: &s}}, x.admit(s)
	})
}

// admit refuses a sandbox that is in another one's way.
func (x *index) admit(s bridged.Sandbox) error {
	if id, taken := x.sandboxNames[s.Name]; taken && id != s.ID {
		return bridged.Errorf(bridged.ErrConflict, "sandbox %s exists already: remove it first, or choose another name", s.Name)
	}
	if id, taken := x.namespaces[s.NSID]; taken && id != s.ID {
		return bridged.Errorf(bridged.ErrConflict, "namespace %s is sandbox %s already", s.NetNS, x.stackName(id))
	}
	if _, there := x.Sandboxes[s.Stack()]; !there && s.Shares != "" {
		return bridged.Errorf(bridged.ErrNotFound, "the sandbox whose stack %s would share was just removed", s.Name)
	}
	return nil
}

// openNamespace finds the namespace that was given, and holds it.
func (e *Engine) openNamespace(ctx context.Context, s bridged.Sandbox, pid int) (id bridged.NamespaceID, letGo func(), err error) {
	id, letGo, err = e.host.hold(s.NetNS, pid)
	if err != nil {
		return id, nil, err
	}
	if id == e.facts.namespace {
		err = bridged.Errorf(bridged.ErrInvalid, "%s is the host's own network namespace; use mode host for a sandbox that shares it", s.NetNS)
	} else { // a sandbox that was just removed may still have its link in there
		err = e.pairs.wait(ctx, func(p pair) bool { return p.nsid == id })
	}
	if err != nil {
		letGo()
		return id, nil, err
	}
	return id, letGo, nil
}

// attach joins the sandbox to the network: addresses and ports are claimed, then everything is one change, the sandbox itself where it is new.
func (e *Engine) attach(ctx context.Context, s bridged.Sandbox, n bridged.Network, spec bridged.SandboxSpec) error {
	claims, err := e.claimPorts(ctx, outletsOn(n), spec.Ports)
	if err != nil {
		return err
	}
	failpoint.Reached("sandbox's ports claimed")
	err = e.transactWhenFree(ctx, func(x *index) (bridged.Change, error) {
		n, ok := x.Networks[n.ID]
		if !ok {
			return bridged.Change{}, bridged.Errorf(bridged.ErrNotFound, "network %s not found: it was just removed", spec.Network)
		}
		if err := cmp.Or(e.lacks.refuse(n), x.admit(s)); err != nil {
			return bridged.Change{}, err
		}
		endpoint, err := x.newEndpoint(n, bridged.InterfaceSpec{ID: s.ID, IPv4: spec.IPv4, IPv6: spec.IPv6, MAC: spec.MAC})
		if err != nil {
			return bridged.Change{}, err
		}
		endpoint.HostInterface, endpoint.MTU = bridged.NewLinkName(bridged.PortPrefix), n.MTU
		if endpoint.Interface, err = x.interfaceName(n, s, ""); err != nil {
			return bridged.Change{}, err
		}
		return bridged.Change{
			Sandboxes: map[string]*bridged.Sandbox{s.ID: &s},
			Endpoints: map[string]*bridged.Endpoint{endpoint.ID: &endpoint},
			Ports:     outletsOf([]bridged.Joined{{Endpoint: endpoint, Network: n}}).publication(s.ID, claims),
		}, nil
	})
	if err != nil {
		e.book.free(bindingsOf(claims))
		return err
	}
	e.purgeBypassing(claims)
	return nil
}

// newEndpoint gives an endpoint its addresses.
func (x *index) newEndpoint(n bridged.Network, spec bridged.InterfaceSpec) (_ bridged.Endpoint, err error) {
	e := bridged.Endpoint{ID: bridged.NewID(), Network: n.ID, Sandbox: spec.ID, Created: time.Now().UTC()}
	if err := x.checkMAC(n, spec.MAC); err != nil {
		return e, err
	}
	defer func() {
		if err != nil {
			x.release(e)
		}
	}()
	for _, f := range []struct {
		subnet bridged.Subnet
		asked  netip.Addr
		name   string
		got    *netip.Prefix
	}{{n.IPv4, spec.IPv4, "IPv4", &e.IPv4}, {n.IPv6, spec.IPv6, "IPv6", &e.IPv6}} {
		switch {
		case f.subnet.Valid():
			if *f.got, err = x.take(n, f.subnet, f.asked); err != nil {
				return e, err
			}
		case f.asked.IsValid():
			return e, bridged.Errorf(bridged.ErrInvalid, "cannot use address %s: network %s has no %s", f.asked, n.Name, f.name)
		}
	}
	e.MAC = spec.MAC
	if e.MAC == (bridged.MAC{}) {
		e.MAC = x.newMAC(n, e)
	}
	return e, nil
}

// checkMAC says whether a user's MAC can be used on the network; the zero MAC asks for none.
func (x *index) checkMAC(n bridged.Network, mac bridged.MAC) error {
	switch {
	case mac == bridged.MAC{}:
		return nil
	case mac[0]&1 != 0:
		return bridged.Errorf(bridged.ErrInvalid, "cannot use MAC address %s: it is a multicast address", mac)
	case mac == n.BridgeMAC:
		return bridged.Errorf(bridged.ErrConflict, "cannot use MAC address %s: it is the gateway's", mac)
	}
	if id, taken := x.macs[macKey{n.ID, mac}]; taken {
		if l := x.leaving[id]; l != nil {
			return leavingError{l.Endpoint.String(), l.gone}
		}
		return bridged.Errorf(bridged.ErrConflict, "cannot use MAC address %s: sandbox %s has it on network %s",
			mac, x.stackName(x.Endpoints[id].Sandbox), n.Name)
	}
	return nil
}

// newMAC derives the MAC from the address, so that an address that is used again is reachable without waiting for stale neighbour
// entries. Where a user took just that one for another sandbox, it is random.
func (x *index) newMAC(n bridged.Network, e bridged.Endpoint) bridged.MAC {
	mac := randomMAC()
	if addrs := e.Addrs(); len(addrs) > 0 {
		mac = bridged.MAC(addr.MACOf(addrs[0]))
	}
	for x.checkMAC(n, mac) != nil {
		mac = randomMAC()
	}
	return mac
}

// randomMAC is a unicast address, locally administered.
func randomMAC() (mac bridged.MAC) {
	rand.Read(mac[:])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// RemoveSandbox detaches a sandbox and gives everything back; the namespace goes if it is ours. It works the same when the
// namespace is gone.
func (e *Engine) RemoveSandbox(ctx context.Context, ref string) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s, unlock, err := e.lockAny(ref, true)
	if err != nil {
		return err
	}
	defer unlock()
	defer e.locks.lock("stack " + s.Stack())()
	defer e.lockNetworksOf(s.Stack())()
	if s.Shares != "" || e.shared(s) {
		err = e.leaveStack(ctx, s)
	} else {
		err = e.forgetSandbox(ctx, s)
	}
	if err == nil {
		e.tell("sandbox removed", "sandbox", s.Name)
	}
	return err
}

// forgetSandbox takes a sandbox away in any state that it is in. First the record that it goes, so that a crash in the middle
// goes on from there; last the record that it is gone. Those that share its stack go with the first: where that fails, all of them stay.
func (e *Engine) forgetSandbox(ctx context.Context, s bridged.Sandbox, users ...bridged.Sandbox) error {
	s.Settled = false
	err := e.detach(ctx, s.ID, func(x *index, c *bridged.Change) error {
		c.Sandboxes = map[string]*bridged.Sandbox{s.ID: &s}
		for _, u := range users {
			c.Sandboxes[u.ID] = nil
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot remove sandbox %s: %w", s.Name, err)
	}
	var nsErr error
	if s.Made && s.NSID != (bridged.NamespaceID{}) {
		nsErr = e.host.removeNamespace(s, s.NetNS)
	}
	failpoint.Reached("namespace gone, sandbox recorded")
	return errors.Join(nsErr, e.transact(ctx, func(*index) (bridged.Change, error) {
		return bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: nil}}, nil
	}))
}

// detach takes all endpoints, ports and links of a stack away, together with what more adds to the change.
func (e *Engine) detach(ctx context.Context, stack string, more func(*index, *bridged.Change) error) error {
	defer e.lockLinks(stack)()
	var ports []bridged.Port
	var endpoints []bridged.Endpoint
	var links []bridged.LinkID
	err := e.transact(ctx, func(x *index) (bridged.Change, error) {
		c := x.detachment(stack)
		for b := range c.Ports {
			ports = append(ports, x.Ports[b])
		}
		for id := range c.Endpoints {
			endpoints = append(endpoints, x.Endpoints[id])
		}
		links = slices.Collect(maps.Keys(c.Links))
		err := more(x, &c)
		if err == nil {
			x.keepAddrs(endpoints)
		}
		return c, err
	})
	if err != nil {
		e.staying(endpoints)
		return err
	}
	e.drainPorts(ports)
	e.drainEndpoints(endpoints)
	return e.forgetLinks(ctx, links)
}

// detachment is the change that takes all endpoints, ports and links of a stack away.
func (x *index) detachment(stack string) bridged.Change {
	c := bridged.Change{Endpoints: make(map[string]*bridged.Endpoint), Ports: make(map[bridged.Binding]*bridged.Port)}
	for _, id := range x.endpoints[stack] {
		c.Endpoints[id] = nil
	}
	for b := range x.ports[stack] {
		c.Ports[b] = nil
	}
	c.Links = x.going(stack, every)
	return c
}

// Sandbox is one sandbox, by name, id or unique prefix of the id.
func (e *Engine) Sandbox(ref string) (bridged.SandboxInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.index.sandbox(ref)
	if err != nil {
		return bridged.SandboxInfo{}, err
	}
	return e.index.sandboxInfo(s), nil
}

// Sandboxes lists all sandboxes in the order of their names, without those that are just being made or removed.
func (e *Engine) Sandboxes() []bridged.SandboxInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	infos := []bridged.SandboxInfo{}
	for _, s := range e.index.Sandboxes {
		if s.Settled && !s.Gone {
			infos = append(infos, e.index.sandboxInfo(s))
		}
	}
	ordered.Sort(infos, func(a, b bridged.SandboxInfo) int { return strings.Compare(a.Name, b.Name) })
	return infos
}

func (x *index) sandboxInfo(s bridged.Sandbox) bridged.SandboxInfo {
	info := bridged.SandboxInfo{Sandbox: s}
	if s.Shares != "" {
		info.Mode = bridged.ModeContainer + ":" + bridged.Mode(x.ownerName(s.Shares))
	}
	info.Joined = x.joined(s.Stack())
	for b := range x.ports[s.Stack()] {
		info.Ports = append(info.Ports, x.Ports[b])
	}
	ordered.Sort(info.Ports, comparePorts)
	info.Links = x.linkInfos(maps.Keys(x.links[s.Stack()]))
	return info
}
