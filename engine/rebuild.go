package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/internal/ordered"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// A start whose log was lost or damaged asks the kernel what runs, so that containers keep their network. The kernel is right: what the rest of
// the log says and the kernel does not hold was taken away later, and what the kernel holds and the log does not say was made
// later. Three things tell: the labels of host ends (label.go), the elements of our tables, and the namespaces that live.
// Everything that is used is the host's; nothing inside a sandbox is asked.
//
// The kernel knows nothing of sandboxes without a namespace of their own (modes host and container), of leases without a link, nor what links between sandboxes were called: of these, what the log still says is kept.

// rebuilder makes the State what the kernel tells.
type rebuilder struct {
	x        *index
	elements nft.Elements
	// noRules and noPorts: the table that would tell is not there.
	noRules, noPorts bool
	inhabited        map[netns.File]string
	marked           map[string]string // paths of namespaces that we made, with their sandboxes' ids
	namespace        func(path string) (bridged.NamespaceID, error)
	now              time.Time

	rebuilt  []string // names of sandboxes, and what leases are called
	warnings []string
}

// rebuild brings the state up to what the kernel tells, if the log may say less. It is recorded when the start has made the kernel equal to
// it and compacts the log; a start that does not come so far is followed by one that does the same again.
func (e *Engine) rebuild(ctx context.Context) error {
	if !e.store.Incomplete() {
		return nil
	}
	rules, err := e.host.observeRules(ctx)
	if err != nil {
		return fmt.Errorf("cannot observe the kernel: %w", err)
	}
	have := rules.Ruleset()
	inhabited, err := e.host.inhabited()
	if err != nil {
		return err
	}
	marked, err := e.host.marked()
	if err != nil {
		return fmt.Errorf("cannot list the namespaces of sandboxes: %w", err)
	}
	r := &rebuilder{
		x: e.index, elements: have.Elements, inhabited: inhabited, marked: marked, now: time.Now().UTC(),
		namespace: func(path string) (bridged.NamespaceID, error) { return e.host.namespace(path, 0) },
		noRules:   !hasTable(have.Tables, forwarding.Bridge), noPorts: !hasTable(have.Tables, nat.Inet),
	}
	e.mu.Lock()
	r.run(e.facts.links, len(e.store.Warnings()) > 0)
	e.mu.Unlock()
	e.warn(r.warnings...)
	return nil
}

func hasTable(tables []nft.Table, id nft.TableID) bool {
	return slices.ContainsFunc(tables, func(t nft.Table) bool { return t.ID == id })
}

func (r *rebuilder) run(links []link.Link, damaged bool) {
	known := len(r.x.Sandboxes) + len(r.x.Endpoints)
	ports := make(map[string]link.Link)
	bridges := make(map[int]string)
	for _, l := range links {
		bridges[l.Index] = l.Name
		if l.Kind == "veth" && l.Ours() && strings.HasPrefix(l.Name, bridged.PortPrefix) {
			ports[l.Name] = l
		}
	}
	r.dropOrphans()
	r.dropGone(ports)
	for _, name := range sortedKeys(ports) {
		if err := r.addEndpoint(ports[name], bridges[ports[name].Master]); err != nil {
			r.warnings = append(r.warnings, fmt.Sprintf("the log was lost, and the sandbox or lease behind %s could not be rebuilt from the kernel, it is removed: %v", name, err))
		}
	}
	r.addUnlinked()
	r.addPorts()
	r.addLinks()
	r.addForwarding()
	if len(r.rebuilt) > 0 || damaged && known+len(ports) > 0 {
		r.warnings = append(r.warnings, r.report())
	}
}

// report is what people should know.
func (r *rebuilder) report() string {
	what := "it has nothing that the log did not say"
	if len(r.rebuilt) > 0 {
		what = fmt.Sprintf("rebuilt were %d sandboxes and leases: %s", len(r.rebuilt), some(r.rebuilt))
	}
	return "the log was lost or damaged, and what runs was taken from the kernel: " + what +
		". It does not tell of sandboxes in the modes host and container, of leases without a link, and of the names of links: make again what is missing of these"
}

// some is a few of the names, in order.
func some(names []string) string {
	const few = 10
	slices.Sort(names)
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// dropOrphans forgets what refers to objects that are lost: no part of the state has to expect that.
func (r *rebuilder) dropOrphans() {
	x := r.x
	c := bridged.Change{Sandboxes: make(map[string]*bridged.Sandbox), Endpoints: make(map[string]*bridged.Endpoint),
		Ports: make(map[bridged.Binding]*bridged.Port), Links: make(map[bridged.LinkID]*bridged.Link),
		Reserved: make(map[bridged.PoolAddr]*bridged.Reserved)}
	for id, s := range x.Sandboxes {
		if _, there := x.Sandboxes[s.Stack()]; !there {
			c.Sandboxes[id] = nil
		}
	}
	for id, e := range x.Endpoints {
		_, network := x.Networks[e.Network]
		_, sandbox := x.Sandboxes[e.Sandbox]
		if !network || !sandbox && !e.Leased() {
			c.Endpoints[id] = nil
		}
	}
	for b, p := range x.Ports {
		_, there := x.Endpoints[p.Endpoint]
		if p.Endpoint == "" {
			_, there = x.Sandboxes[p.Sandbox] // it waits for a network
		}
		if _, dropped := c.Endpoints[p.Endpoint]; !there || dropped {
			c.Ports[b] = nil
		}
	}
	for a := range x.Reserved {
		if _, there := x.Reservations[a.Pool]; !there {
			c.Reserved[a] = nil
		}
	}
	for id := range x.Links {
		if !x.isStack(id.Parent) || !x.isStack(id.Child) {
			c.Links[id] = nil
		}
	}
	r.x.apply(c)
}

// isStack says whether that is a sandbox, or the key of a lease.
func (x *index) isStack(id string) bool {
	_, sandbox := x.Sandboxes[id]
	return sandbox || len(x.endpoints[id]) > 0
}

// dropGone forgets the endpoints whose link is gone, with their ports, and the sandboxes that were removed or replaced; of leases just the link. The namespace
// of a sandbox that we made, where it still has its path, says that the sandbox was not removed: it gets its link again.
func (r *rebuilder) dropGone(ports map[string]link.Link) {
	for _, id := range sortedKeys(r.x.Endpoints) {
		e := r.x.Endpoints[id]
		l, there := ports[e.HostInterface]
		if e.HostInterface == "" || there && r.alive(e) && r.mayBe(l, e) {
			continue
		}
		if e.Leased() {
			e = unlinked(e)
			r.x.apply(bridged.Change{Endpoints: map[string]*bridged.Endpoint{id: &e}})
			continue
		}
		s := r.x.Sandboxes[e.Sandbox]
		if now, err := r.namespace(s.NetNS); !there && s.Made && s.Settled && err == nil && now == s.NSID {
			continue
		}
		c := r.x.detachment(s.ID)
		c.Sandboxes = map[string]*bridged.Sandbox{s.ID: nil}
		if s.Made {
			s.Settled = false // its namespace goes with it when it is collected
			c.Sandboxes[s.ID] = &s
		}
		r.x.apply(c)
	}
}

// mayBe: a link's label, where it has one, names the endpoint.
func (r *rebuilder) mayBe(l link.Link, e bridged.Endpoint) bool {
	told, ok := parseLabel(l.Alias)
	return !ok || told.endpoint.ID == e.ID
}

// alive: the port has elements, so that it is neither just being made nor removed.
func (r *rebuilder) alive(e bridged.Endpoint) bool {
	if r.noRules {
		return true
	}
	want := make(nft.Elements)
	for _, element := range forwarding.Endpoint(r.x.Networks[e.Network], e, nil) {
		if element.Set.Table == forwarding.Bridge { // the others are of its addresses
			want[element] = struct{}{}
		}
	}
	return !r.none(want)
}

// addEndpoint adds what the label of a link tells, unless it is known.
func (r *rebuilder) addEndpoint(l link.Link, bridge string) error {
	told, ok := parseLabel(l.Alias)
	if id, known := r.x.hostEnds[l.Name]; known {
		if r.x.Endpoints[id].Leased() {
			return nil
		}
		return r.settle(r.x.Sandboxes[r.x.Endpoints[id].Sandbox], told.sandbox)
	}
	if !ok {
		return fmt.Errorf("its alias %q says nothing of a sandbox", l.Alias)
	}
	network, ok := r.x.Networks[r.x.bridges[bridge]]
	if !ok {
		return errors.New("it is in no bridge of a network")
	}
	e := told.endpoint
	e.HostInterface, e.Network, e.MTU = l.Name, network.ID, l.MTU
	if !e.Leased() {
		e.Sandbox = told.sandbox.ID
	}
	e.NoHairpin = told.sandbox.CNI && !l.Hairpin
	if !r.alive(e) {
		return nil // it was being made or removed
	}
	if e.Leased() {
		return r.addLease(e, network)
	}
	e, err := r.placed(e, network)
	if err != nil {
		return err
	}
	if s, known := r.x.Sandboxes[e.Sandbox]; known {
		err = r.settle(s, told.sandbox)
	} else {
		err = r.addSandbox(told.sandbox)
	}
	if err == nil {
		r.x.apply(bridged.Change{Endpoints: map[string]*bridged.Endpoint{e.ID: &e}})
	}
	return err
}

// addLease adds a lease with a link, or the link to one that is known.
func (r *rebuilder) addLease(e bridged.Endpoint, n bridged.Network) error {
	known, there := r.x.Endpoints[e.ID]
	switch {
	case there && known.Sandbox == e.Sandbox && known.Network == e.Network && known.Peer == "":
		known.HostInterface, known.Peer, known.MTU = e.HostInterface, e.Peer, e.MTU
		e = known
	case there || len(r.x.endpoints[e.Sandbox]) > 0 || r.x.isSandbox(e.Sandbox):
		return fmt.Errorf("%s is something else", e.Sandbox)
	default:
		var err error
		if e, err = r.placed(e, n); err != nil {
			return err
		}
		e.Created = r.now
		r.rebuilt = append(r.rebuilt, e.Called())
	}
	r.x.apply(bridged.Change{Endpoints: map[string]*bridged.Endpoint{e.ID: &e}})
	return nil
}

// addUnlinked adds sandboxes that have no link: the namespaces that we made and that nobody has. One in mode none that the log does not
// say to be made is taken for one whose end was lost.
func (r *rebuilder) addUnlinked() {
	for _, path := range sortedKeys(r.marked) {
		now, err := r.namespace(path)
		if err != nil {
			continue
		}
		s, known := r.x.Sandboxes[r.marked[path]]
		if known {
			if !s.Settled && s.Mode == bridged.ModeNone && path == s.NetNS {
				s.NSID, s.Settled = now, true
				r.x.apply(bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: &s}})
			}
			continue
		}
		s = bridged.Sandbox{
			ID: r.marked[path], Name: filepath.Base(path), Created: r.now, Mode: bridged.ModeNone, NetNS: path, NSID: now, Made: true, Settled: true,
		}
		_, named := r.x.sandboxNames[s.Name]
		_, had := r.x.namespaces[now]
		if named || had || shorten(s.ID) == "" || path == lastingPath(s) {
			continue // of one that was removed while others shared it, nothing is known of those
		}
		r.x.apply(bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: &s}})
		r.rebuilt = append(r.rebuilt, s.Name)
	}
}

// settle settles a sandbox that was being made or removed: its link has its elements.
func (r *rebuilder) settle(s, told bridged.Sandbox) error {
	if s.Settled {
		return nil
	}
	if s.NSID == (bridged.NamespaceID{}) {
		found, err := r.locate(told)
		if err != nil {
			return err
		}
		s.NSID, s.NetNS = found.NSID, found.NetNS
	}
	s.Settled = true
	r.x.apply(bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: &s}})
	return nil
}

func (r *rebuilder) addSandbox(told bridged.Sandbox) error {
	s, err := r.locate(told)
	if err != nil {
		return err
	}
	s.Mode, s.Settled = bridged.ModeBridge, true
	if s.Created.IsZero() {
		s.Created = r.now
	}
	if s.Name == "" {
		s.Name = s.ID[:12] // it did not fit into the label
	}
	if _, taken := r.x.sandboxNames[s.Name]; taken {
		r.warnings = append(r.warnings, fmt.Sprintf("two sandboxes have the name %s: the one with the id %.12s is called by that now", s.Name, s.ID))
		s.Name = s.ID[:12]
	}
	r.x.apply(bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: &s}})
	r.rebuilt = append(r.rebuilt, s.Name)
	return nil
}

// placed checks the endpoint against its network and the endpoints that are there, and gives its addresses the length of their prefix.
func (r *rebuilder) placed(e bridged.Endpoint, n bridged.Network) (bridged.Endpoint, error) {
	for _, f := range []struct {
		subnet bridged.Subnet
		prefix *netip.Prefix
	}{{n.IPv4, &e.IPv4}, {n.IPv6, &e.IPv6}} {
		a := f.prefix.Addr()
		if !a.IsValid() {
			continue
		}
		if !f.subnet.Prefix.Contains(a) || a == f.subnet.Gateway {
			return e, fmt.Errorf("network %s has no address %s to give", n.Name, a)
		}
		if id, taken := r.x.addrs[addrKey{n.ID, a}]; taken {
			return e, fmt.Errorf("%s has its address %s", r.x.stackName(r.x.Endpoints[id].Sandbox), a)
		}
		*f.prefix = netip.PrefixFrom(a, f.subnet.Prefix.Bits())
	}
	return e, r.x.checkMAC(n, e.MAC)
}

// locate finds the namespace that a label tells of: it must live, and be no other sandbox's. Of one that we made, the path
// is the one that it was made with; where it is mounted there no more, a start mounts it again.
func (r *rebuilder) locate(s bridged.Sandbox) (bridged.Sandbox, error) {
	made := filepath.Join(namespaceDir, s.Name)
	paths := []string{made, lastingPath(s)}
	for file, path := range r.inhabited {
		if file.Ino == s.NSID.Ino {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		now, err := r.namespace(path)
		if err != nil || now.Ino != s.NSID.Ino || now.Cookie != s.NSID.Cookie {
			continue
		}
		if id, taken := r.x.namespaces[now]; taken && id != s.ID {
			return s, fmt.Errorf("its namespace %s is sandbox %s", path, r.x.stackName(id))
		}
		s.NSID, s.NetNS = now, path
		switch {
		case !s.Made || path == lastingPath(s):
		case s.Name == "" && filepath.Dir(path) == namespaceDir:
			s.Name = filepath.Base(path)
		case s.Name != "":
			s.NetNS = made
		}
		return s, nil
	}
	return s, fmt.Errorf("no path leads to namespace %d of sandbox %s", s.NSID.Ino, s.Name)
}

// addPorts makes the published ports those that elements let through: each goes to the endpoint that has the address.
func (r *rebuilder) addPorts() {
	if r.noPorts {
		return
	}
	c := bridged.Change{Ports: make(map[bridged.Binding]*bridged.Port)}
	explained := make(nft.Elements)
	for b, p := range r.x.Ports {
		want := r.wants(func(k compiler, w *objects) { k.port(w, p) })
		if r.none(want) {
			c.Ports[b] = nil
			continue
		}
		maps.Copy(explained, want)
	}
	owners := r.owners()
	var nobodys []string
	for element := range r.elements {
		p, inside, ok := nat.ParsePort(element)
		if _, known := explained[element]; !ok || known {
			continue
		}
		e, ok := owners[inside]
		if !ok {
			nobodys = append(nobodys, p.Binding.String())
			continue
		}
		p.Sandbox, p.Endpoint = e.Sandbox, e.ID
		c.Ports[p.Binding] = &p
	}
	if len(nobodys) > 0 {
		r.warnings = append(r.warnings, "the log was lost, and with it whose ports these are; they are published no longer: "+some(nobodys))
	}
	r.x.apply(c)
}

// wants are the elements of one object.
func (r *rebuilder) wants(compile func(compiler, *objects)) nft.Elements {
	w := newObjects()
	w.tables = []nft.Table{{ID: nat.Inet}, {ID: forwarding.Bridge}}
	compile(compiler{x: r.x}, &w)
	return w.elements
}

// none: something is wanted, and nothing of it is there.
func (r *rebuilder) none(want nft.Elements) bool {
	for element := range want {
		if _, there := r.elements[element]; there {
			return false
		}
	}
	return len(want) > 0
}

// owners are the endpoints by address, where one address has one owner.
func (r *rebuilder) owners() map[netip.Addr]bridged.Endpoint {
	owners := make(map[netip.Addr]bridged.Endpoint)
	twice := make(map[netip.Addr]bool)
	for _, e := range r.x.Endpoints {
		for _, a := range e.Addrs() {
			_, twice[a] = owners[a]
			owners[a] = e
		}
	}
	maps.DeleteFunc(owners, func(a netip.Addr, _ bridged.Endpoint) bool { return twice[a] })
	return owners
}

// addLinks makes the links between sandboxes those that elements let through. One that nothing is let through by was removed; one that is
// not known gets the child's name.
func (r *rebuilder) addLinks() {
	if r.noPorts {
		return
	}
	found := make(map[bridged.LinkID]*bridged.Link)
	explained := make(nft.Elements)
	for id, l := range r.x.Links {
		want := r.wants(func(k compiler, w *objects) { k.link(w, l) })
		var open []bridged.ProtoPort
		for element := range want {
			_, _, port, ok := forwarding.ParseLink(element)
			if _, there := r.elements[element]; ok && there && !slices.Contains(open, port) {
				open = append(open, port)
			}
			explained[element] = struct{}{}
		}
		switch {
		case len(want) == 0:
		case len(open) == 0:
			l.Gone = true
			found[id] = &l
		case len(l.Ports) > len(open):
			l.Ports = open
			found[id] = &l
		}
	}
	owners := r.owners()
	for element := range r.elements {
		parent, child, port, ok := forwarding.ParseLink(element)
		from, hasParent := owners[parent]
		to, hasChild := owners[child]
		if _, known := explained[element]; !ok || known || !hasParent || !hasChild {
			continue // what nobody wants goes with the reconcile
		}
		id := bridged.LinkID{Parent: from.Sandbox, Child: to.Sandbox}
		l := bridged.Link{Parent: id.Parent, Child: id.Child, Alias: r.x.stackName(id.Child), Created: r.now}
		if known, there := r.x.Links[id]; there {
			l = known
		}
		if found[id] != nil {
			l = *found[id]
		}
		if !slices.Contains(l.Ports, port) {
			l.Ports = append(slices.Clone(l.Ports), port)
		}
		l.Gone = false
		found[id] = &l
	}
	for _, l := range found {
		l.Ports = slices.Clone(l.Ports)
		ordered.Sort(l.Ports, bridged.ProtoPort.Compare)
	}
	r.x.apply(bridged.Change{Links: found})
}

// addForwarding: for the families that have their fence up we switched forwarding on.
func (r *rebuilder) addForwarding() {
	f := r.x.Forwarding
	for _, family := range []bridged.Forwarding{{IPv4: true}, {IPv6: true}} {
		for _, element := range forwarding.Host(family) {
			if _, there := r.elements[element]; there {
				f.IPv4, f.IPv6 = f.IPv4 || family.IPv4, f.IPv6 || family.IPv6
			}
		}
	}
	if f != r.x.Forwarding {
		r.x.apply(bridged.Change{Forwarding: &f})
	}
}
