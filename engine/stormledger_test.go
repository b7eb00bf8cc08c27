package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

// ledger is what the clients of a storm were promised. A promise counts as soon as its client has heard of it, and is in doubt from when its
// end is asked for until that is answered.
type ledger struct {
	mu        sync.Mutex
	sandboxes map[string]*promise // by id; also those that are removed
	order     []string            // ids of those that are not
	networks  map[string]*networkPromise
	ports     map[*portPromise]struct{}
	links     map[linkKey][]string // ports
	leases    map[string]int       // by key: allocated less released
	addresses map[string]string    // by key, where there was ever but one lease
	leave     map[string]int       // ids of sandboxes and keys that are just asked to go
	calls     map[string]*struct{ done, refused int }
}

// promise is a sandbox as it was acknowledged.
type promise struct {
	client.Sandbox
	stack   string // id of the sandbox that the stack came from
	removed bool
}

type networkPromise struct {
	name  string
	leave int // calls that are about to remove it
}

type portPromise struct {
	bridged.Binding
	stack, container string
	leaves           bool
}

// linkKey names a link; addresses are there when it is between two.
type linkKey struct{ parent, child, addresses string }

func newLedger() *ledger {
	return &ledger{
		sandboxes: make(map[string]*promise), networks: make(map[string]*networkPromise), ports: make(map[*portPromise]struct{}),
		links: make(map[linkKey][]string), leases: make(map[string]int), addresses: make(map[string]string), leave: make(map[string]int),
		calls: make(map[string]*struct{ done, refused int }),
	}
}

func (l *ledger) count(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls[what] == nil {
		l.calls[what] = new(struct{ done, refused int })
	}
	if err == nil {
		l.calls[what].done++
	} else {
		l.calls[what].refused++
	}
}

// counts says how often each call was done and refused.
func (l *ledger) counts() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, what := range sortedKeys(l.calls) {
		all = append(all, fmt.Sprintf("%s %d/%d", what, l.calls[what].done, l.calls[what].refused))
	}
	return "done/refused: " + strings.Join(all, ", ")
}

// stacks are those that are there: for certain, or only not asked to go.
func (l *ledger) stacks(certain bool) map[string]bool {
	there := make(map[string]bool)
	for _, id := range l.order {
		if !certain || l.leave[id] == 0 {
			there[l.sandboxes[id].stack] = true
		}
	}
	for key, n := range l.leases {
		if n > 0 && (!certain || l.leave[key] == 0) {
			there[key] = true
		}
	}
	return there
}

func (l *ledger) promise(p *promise) error {
	l.mu.Lock()
	l.sandboxes[p.ID] = p
	l.order = append(l.order, p.ID)
	l.mu.Unlock()
	if p.stack != p.ID {
		return nil // the ports are its stack's
	}
	var errs []string
	for container, ports := range p.Ports {
		_, proto, _ := strings.Cut(container, "/")
		for _, port := range ports {
			if _, err := l.publish(p.ID, hostPort(proto, port), container); err != nil {
				errs = append(errs, err.Error())
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for network, e := range p.Networks {
		for _, id := range l.order {
			other := l.sandboxes[id]
			o, same := other.Networks[network]
			if same && other.stack == id && id != p.ID && l.leave[id] == 0 && o.NetworkID == e.NetworkID &&
				(o.IPAddress == e.IPAddress || o.MacAddress == e.MacAddress) {
				errs = append(errs, fmt.Sprintf("%s and %s have the same address: %+v, %+v", p.Name, other.Name, e, o))
			}
		}
	}
	if errs != nil {
		return fmt.Errorf("%s", strings.Join(errs, "\n"))
	}
	return nil
}

func (l *ledger) leaving(id string, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leave[id]--; yes {
		l.leave[id] += 2
	}
}

func (l *ledger) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sandboxes[id].removed = true
	l.order = slices.DeleteFunc(l.order, func(other string) bool { return other == id })
}

func (l *ledger) anySandbox(rnd *rand.Rand) *promise {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.order) == 0 {
		return nil
	}
	return l.sandboxes[l.order[rnd.IntN(len(l.order))]]
}

func (l *ledger) promiseNetwork(id, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, n := range l.networks {
		if n.name == name && n.leave == 0 {
			return fmt.Errorf("two networks are named %s: %s and %s", name, id, other)
		}
	}
	l.networks[id] = &networkPromise{name: name}
	return nil
}

// anyNetwork is the id of a network, "" when there is none; with joined one of those that have members.
func (l *ledger) anyNetwork(rnd *rand.Rand, joined bool) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for _, id := range sortedKeys(l.networks) {
		if n, _ := strconv.Atoi(strings.TrimPrefix(l.networks[id].name, "n")); !joined || n < stormJoined {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return ids[rnd.IntN(len(ids))]
}

func (l *ledger) leavingNetwork(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.networks[id]; n != nil {
		n.leave++
	}
}

func (l *ledger) stayingNetwork(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.networks[id]; n != nil {
		n.leave--
	}
}

func (l *ledger) forgetNetwork(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.networks[id] == nil {
		return fmt.Errorf("network %s was removed twice", id)
	}
	delete(l.networks, id)
	return nil
}

// publish notes a published port. Nobody else can have it for certain.
func (l *ledger) publish(stack string, b bridged.Binding, container string) (*portPromise, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := &portPromise{Binding: b, stack: stack, container: container}
	there := l.stacks(true)
	for p := range l.ports {
		if p.Overlaps(b) && !p.leaves && there[p.stack] {
			return mine, fmt.Errorf("port %s was given to %s and to %s", b, p.stack, stack)
		}
	}
	l.ports[mine] = struct{}{}
	return mine, nil
}

// unpublishing begins to take ports back; there says whether they were there for certain all the time until it is called.
func (l *ledger) unpublishing(ports []*portPromise) (there func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ports {
		p.leaves = true
	}
	before := l.stacks(true)[ports[0].stack]
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		id := ports[0].stack
		s := l.sandboxes[id]
		return before && !s.removed && l.leave[id] == 0
	}
}

func (l *ledger) unpublish(ports []*portPromise) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ports {
		delete(l.ports, p)
	}
}

func (l *ledger) keepPublished(ports []*portPromise) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ports {
		p.leaves = false
	}
}

func (l *ledger) link(key linkKey, ports []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, twice := l.links[key]; twice {
		return fmt.Errorf("%s was linked to %s twice", key.parent, key.child)
	}
	l.links[key] = ports
	return nil
}

// open opens another port of a link between two addresses.
func (l *ledger) open(key linkKey, port string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.links[key] = append(l.links[key], port)
}

// unlink forgets a link, and with that of two sandboxes those between their addresses.
func (l *ledger) unlink(key linkKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other := range l.links {
		if other.parent == key.parent && other.child == key.child && (key.addresses == "" || other == key) {
			delete(l.links, other)
		}
	}
}

func (l *ledger) lease(key, ip string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leases[key]++
	l.addresses[key] = ip
	if strings.HasPrefix(key, "shared") {
		l.addresses[key] = ""
	}
}

func (l *ledger) release(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leases[key]--
}

// sharedLeases are the keys that clients competed for, and that have a lease.
func (l *ledger) sharedLeases() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys []string
	for key, n := range l.leases {
		if n > 0 && strings.HasPrefix(key, "shared") {
			keys = append(keys, key)
		}
	}
	return keys
}

// promised holds the ledger against what the server says, and against the kernel through others' eyes.
func (s *storm) promised() {
	s.t.Helper()
	c, ctx := s.dial(), context.Background()
	defer c.Close()
	networks, err := c.Networks(ctx)
	s.violated(err)
	sandboxes, err := c.Sandboxes(ctx)
	s.violated(err)
	ports, err := c.Ports(ctx, "")
	s.violated(err)
	links, err := c.Links(ctx, "")
	s.violated(err)
	l := s.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	there := l.stacks(false)

	var got, want []string
	for _, n := range networks {
		if n.Driver == "bridge" && n.Name != "bridge" {
			got = append(got, n.ID+" "+n.Name)
		}
	}
	for id, n := range l.networks {
		want = append(want, id+" "+n.name)
	}
	s.same("networks", got, want)

	got, want = nil, nil
	for _, b := range sandboxes {
		got = append(got, describe(b, l.sandboxes[b.ID]))
	}
	for _, id := range l.order {
		want = append(want, describe(l.sandboxes[id].Sandbox, l.sandboxes[id]))
	}
	s.same("sandboxes", got, want)

	got, want = nil, nil
	for _, p := range ports {
		b, _ := bindingOf(p)
		got = append(got, fmt.Sprint(b, " ", p.Port))
	}
	for p := range l.ports {
		if there[p.stack] {
			want = append(want, fmt.Sprint(p.Binding, " ", p.container))
		}
	}
	s.same("ports", got, want)
	s.published(want)

	got, want = nil, nil
	for _, k := range links {
		slices.Sort(k.Ports)
		got = append(got, fmt.Sprint(k.Parent, " ", k.Child, " ", k.ParentIP, " ", k.ChildIP, k.Ports))
	}
	for k, ports := range l.links {
		if there[k.parent] && there[k.child] {
			slices.Sort(ports)
			parentIP, childIP, _ := strings.Cut(k.addresses, " ")
			want = append(want, fmt.Sprint(l.nameOf(k.parent), " ", l.nameOf(k.child), " ", parentIP, " ", childIP, ports))
		}
	}
	s.same("links", got, want)

	got, want = nil, nil
	for _, e := range s.e.State().Endpoints {
		if e.HostInterface == "" {
			ip := e.IPv4.Addr().String()
			if strings.HasPrefix(e.Sandbox, "shared") {
				ip = ""
			}
			got = append(got, e.Sandbox+" "+ip)
		}
	}
	for key, n := range l.leases {
		for range n {
			want = append(want, key+" "+l.addresses[key])
		}
	}
	s.same("leases", got, want)
	s.inKernel(there)
}

// describe is what must not change of a sandbox. What a sharing one has is its stack's.
func describe(b client.Sandbox, p *promise) string {
	if p == nil || p.stack != p.ID {
		return fmt.Sprint(b.ID, " ", b.Name)
	}
	return fmt.Sprint(b.ID, " ", b.Name, " ", b.Mode, " ", b.NetNS, " ", b.Networks)
}

// nameOf is what a stack is called. The caller holds l.mu.
func (l *ledger) nameOf(stack string) string {
	if p := l.sandboxes[stack]; !p.removed {
		return p.Name
	}
	var users []string
	for _, id := range l.order {
		if l.sandboxes[id].stack == stack {
			users = append(users, l.sandboxes[id].Name)
		}
	}
	return slices.Min(users)
}

// same compares two lists of what is there and what was promised.
func (s *storm) same(what string, got, want []string) {
	s.t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if slices.Equal(got, want) {
		return
	}
	for _, g := range got {
		if !slices.Contains(want, g) {
			s.t.Errorf("%s: there is %s, which was not promised", what, g)
		}
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			s.t.Errorf("%s: there is no %s, which was promised", what, w)
		}
	}
	if len(got) != len(want) {
		s.t.Errorf("%s: there are %d, promised were %d", what, len(got), len(want))
	}
}

// waiting are the ports that lead nowhere for now: published while their sandbox was in a network with IPv6 too, by somebody else, and it is in
// none any more.
func (s *storm) waiting() (n int) {
	s.t.Helper()
	state := s.e.State()
	for b, p := range state.Ports {
		if p.Endpoint != "" {
			continue
		}
		n++
		for _, e := range state.Endpoints {
			if e.Sandbox == p.Sandbox && e.Has(b.HostIP.Is6()) {
				s.t.Errorf("port %s leads nowhere, although its sandbox has an address of that family", p)
			}
		}
	}
	return n
}

// published holds the promised ports against nft and against sockets.
func (s *storm) published(ports []string) {
	s.t.Helper()
	have := 0
	for _, m := range []string{"publish4", "publish4any", "publish6", "publish6any"} {
		if _, elements, ok := strings.Cut(command(s.t, "nft", "list", "map", "inet", "bridged", m), "elements = {"); ok {
			have += strings.Count(elements, ",") + 1
		}
	}
	waiting := s.waiting()
	if have != len(ports)-waiting {
		s.t.Errorf("nft shows %d elements for %d published ports, of which %d wait for a network", have, len(ports), waiting)
	}
	for _, p := range ports {
		binding, _, _ := strings.Cut(p, " ")
		address, proto, _ := strings.Cut(binding, "/")
		if proto == "sctp" {
			continue
		}
		network := proto + "4"
		if netip.MustParseAddrPort(address).Addr().Is6() {
			network = proto + "6"
		}
		if !taken(network, address) {
			s.t.Errorf("port %s is published and not reserved", p)
		}
	}
}

// inKernel holds the stacks that are there against links, names of namespaces, and what is inside. The caller holds the ledger's lock.
func (s *storm) inKernel(there map[string]bool) {
	s.t.Helper()
	var ends, paths []string
	looked := 0
	for stack := range there {
		p := s.ledger.sandboxes[stack]
		if p == nil {
			continue // a lease
		}
		path := p.NetNS
		if strings.HasPrefix(path, namespaceDir) {
			if p.removed {
				path = namespaceDir + "/" + stack
			}
			paths = append(paths, path)
		}
		for _, e := range p.Networks {
			ends = append(ends, e.HostInterface)
			if looked++; looked > 40 {
				continue // the others are in the engine's comparison
			}
			if text := in(s.t, path, "ip", "addr", "show", e.Interface); !strings.Contains(text, e.MacAddress) ||
				e.IPAddress != "" && !strings.Contains(text, fmt.Sprintf(" %s/%d ", e.IPAddress, e.IPPrefixLen)) {
				s.t.Errorf("%s was promised %+v, and has\n%s", p.Name, e, text)
			}
		}
	}
	s.same("host ends", slices.DeleteFunc(hostLinks(s.t), func(l string) bool { return !strings.HasPrefix(l, bridged.PortPrefix) }), ends)
	s.same("namespaces", namespacesOf(s.t), paths)
}
