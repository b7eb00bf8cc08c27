package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// ruins is what a rebuild looks at: a state, and a kernel in memory.
type ruins struct {
	x      *index
	r      *rebuilder
	links  []link.Link
	spaces map[string]bridged.NamespaceID // by path
}

func newRuins() *ruins {
	f := &ruins{x: newIndex(), spaces: make(map[string]bridged.NamespaceID)}
	n := bridged.Network{
		ID: "n1", Name: "web", Driver: bridged.DriverBridge, Bridge: "br0", BridgeMAC: bridged.MAC{2, 1}, SourceGuard: true, MTU: 1400,
		IPv4: bridged.Subnet{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Gateway: netip.MustParseAddr("10.1.0.1")},
	}
	f.x.apply(bridged.Change{Networks: map[string]*bridged.Network{n.ID: &n}})
	f.links = []link.Link{{Index: 1, Name: "br0", Kind: "bridge", Group: link.Group}}
	f.r = &rebuilder{
		x: f.x, elements: make(nft.Elements), now: time.Now(), marked: make(map[string]string), inhabited: make(map[netns.File]string),
		namespace: func(path string) (bridged.NamespaceID, error) {
			if id, ok := f.spaces[path]; ok {
				return id, nil
			}
			return bridged.NamespaceID{}, errors.New("there is none")
		},
	}
	return f
}

// add adds the n-th sandbox to the kernel, changed before it is.
func (f *ruins) add(n int, change func(*bridged.Sandbox, *bridged.Endpoint, *link.Link)) (bridged.Sandbox, bridged.Endpoint) {
	ip := netip.AddrFrom4([4]byte{10, 1, 0, byte(n)})
	s := bridged.Sandbox{
		ID: strings.Repeat(fmt.Sprintf("%02x", n), idSize), Name: fmt.Sprintf("c%d", n), Created: time.Unix(1_763_700_000, 0).UTC(),
		Mode: bridged.ModeBridge, NSID: bridged.NamespaceID{Dev: 4, Ino: uint64(1000 + n), Cookie: uint64(n)}, Made: true, Settled: true,
	}
	s.NetNS = namespaceDir + "/" + s.Name
	e := bridged.Endpoint{
		ID: strings.Repeat(fmt.Sprintf("%02x", n+100), idSize), Network: "n1", Sandbox: s.ID, HostInterface: fmt.Sprintf("bv%012x", n), Interface: "eth0",
		MTU: 1400, MAC: bridged.MAC(addr.MACOf(ip)), IPv4: netip.PrefixFrom(ip, 24),
	}
	l := link.Link{Index: 1 + n, Name: e.HostInterface, Kind: "veth", Group: link.Group, Master: 1, MTU: 1400}
	f.spaces[s.NetNS] = s.NSID
	if change != nil {
		change(&s, &e, &l)
	}
	if l.Alias == "" {
		l.Alias = newLabel(s, e).String()
	}
	f.links = append(f.links, l)
	for _, element := range forwarding.Endpoint(f.x.Networks["n1"], e, nil) {
		f.r.elements[element] = struct{}{}
	}
	return s, e
}

// publish adds a port's element to the kernel.
func (f *ruins) publish(port uint16, e bridged.Endpoint) bridged.Port {
	p := bridged.Port{
		Binding: bridged.Binding{HostIP: netip.IPv4Unspecified(), Proto: bridged.TCP, HostPort: port}, Sandbox: e.Sandbox, Endpoint: e.ID, ContainerPort: 80,
	}
	f.r.elements[nat.Port(p, e)[0]] = struct{}{}
	return p
}

// known puts objects into the state.
func (f *ruins) known(s bridged.Sandbox, e bridged.Endpoint, ports ...bridged.Port) {
	c := bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: &s}, Endpoints: map[string]*bridged.Endpoint{e.ID: &e},
		Ports: make(map[bridged.Binding]*bridged.Port)}
	for _, p := range ports {
		c.Ports[p.Binding] = &p
	}
	f.x.apply(c)
}

// names are those of the sandboxes that are settled.
func (f *ruins) names() []string {
	var names []string
	for _, s := range f.x.Sandboxes {
		if s.Settled {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (f *ruins) run() { f.r.run(f.links, true) }

func TestRebuildEverything(t *testing.T) {
	f := newRuins()
	s, e := f.add(2, nil)
	p := f.publish(8080, e)
	for _, element := range forwarding.Host(bridged.Forwarding{IPv6: true}) {
		f.r.elements[element] = struct{}{}
	}
	f.run()
	f.run() // and again: a start that was cut short
	if got := f.x.Sandboxes[s.ID]; got != s {
		t.Errorf("the sandbox is\n%+v, want\n%+v", got, s)
	}
	if got := f.x.Endpoints[e.ID]; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", e) {
		t.Errorf("the endpoint is\n%+v, want\n%+v", got, e)
	}
	if got := f.x.Ports[p.Binding]; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", p) || len(f.x.Ports) != 1 {
		t.Errorf("the ports are %+v, want %+v", f.x.Ports, p)
	}
	if f.x.Forwarding != (bridged.Forwarding{IPv6: true}) {
		t.Errorf("forwarding is %+v", f.x.Forwarding)
	}
}

// What can't be true is not believed; what is beside it is.
func TestRebuildDoubts(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*bridged.Sandbox, *bridged.Endpoint, *link.Link)
		want   []string
		warns  string
	}{
		"the namespace died":   {func(s *bridged.Sandbox, _ *bridged.Endpoint, _ *link.Link) { s.NSID.Ino = 77 }, []string{"c2"}, "no path leads"},
		"the number came back": {func(s *bridged.Sandbox, _ *bridged.Endpoint, _ *link.Link) { s.NSID.Cookie = 77 }, []string{"c2"}, "no path leads"},
		"another's namespace": {func(s *bridged.Sandbox, _ *bridged.Endpoint, _ *link.Link) {
			s.NSID, s.Name = bridged.NamespaceID{Dev: 4, Ino: 1002, Cookie: 2}, "c2"
		}, []string{"c2"}, "is sandbox c2"},
		"another's address": {func(_ *bridged.Sandbox, e *bridged.Endpoint, _ *link.Link) {
			e.IPv4 = netip.MustParsePrefix("10.1.0.2/24")
		}, []string{"c2"}, "c2 has its address"},
		"another's MAC": {func(_ *bridged.Sandbox, e *bridged.Endpoint, _ *link.Link) {
			e.MAC = bridged.MAC(addr.MACOf(netip.MustParseAddr("10.1.0.2")))
		}, []string{"c2"}, "sandbox c2 has it"},
		"the gateway's address": {func(_ *bridged.Sandbox, e *bridged.Endpoint, _ *link.Link) {
			e.IPv4 = netip.MustParsePrefix("10.1.0.1/24")
		}, []string{"c2"}, "has no address 10.1.0.1"},
		"an address of elsewhere": {func(_ *bridged.Sandbox, e *bridged.Endpoint, _ *link.Link) {
			e.IPv4 = netip.MustParsePrefix("10.9.0.3/24")
		}, []string{"c2"}, "has no address 10.9.0.3"},
		"an alias of somebody": {func(_ *bridged.Sandbox, _ *bridged.Endpoint, l *link.Link) { l.Alias = "uplink" }, []string{"c2"}, `"uplink" says nothing`},
		"no bridge":            {func(_ *bridged.Sandbox, _ *bridged.Endpoint, l *link.Link) { l.Master = 0 }, []string{"c2"}, "in no bridge"},
		"not ours":             {func(_ *bridged.Sandbox, _ *bridged.Endpoint, l *link.Link) { l.Group = 0 }, []string{"c2"}, ""},
		"no pair":              {func(_ *bridged.Sandbox, _ *bridged.Endpoint, l *link.Link) { l.Kind = "dummy" }, []string{"c2"}, ""},
		"another's name": {func(s *bridged.Sandbox, _ *bridged.Endpoint, _ *link.Link) {
			s.Name, s.Made = "c2", false
		}, []string{"030303030303", "c2"}, "two sandboxes have the name c2"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRuins()
			f.add(2, nil)
			f.r.inhabited[netns.File{Dev: 4, Ino: 1003}] = namespaceDir + "/c3"
			f.add(3, tt.change)
			f.run()
			if got := f.names(); !slices.Equal(got, tt.want) {
				t.Errorf("there are %v, want %v", got, tt.want)
			}
			all := strings.Join(f.r.warnings, "\n")
			if !strings.Contains(all, tt.warns) || tt.warns == "" && len(f.r.warnings) != 1 {
				t.Errorf("warnings %q, want %q", f.r.warnings, tt.warns)
			}
		})
	}
}

// What the rest of the log says and the kernel does not hold was taken away later.
func TestRebuildAgainstTheLog(t *testing.T) {
	f := newRuins()
	s2, e2 := f.add(2, nil)
	p := f.publish(8080, e2)
	stale := p
	stale.Binding.HostPort = 8081
	f.known(s2, e2, p, stale)

	given, e3 := f.add(3, func(s *bridged.Sandbox, _ *bridged.Endpoint, _ *link.Link) { s.Made = false })
	f.known(given, e3)
	f.links = f.links[:len(f.links)-1] // its link went: it was removed

	made, e4 := f.add(4, nil)
	f.known(made, e4)
	f.links = f.links[:len(f.links)-1] // its namespace is still at its path: somebody took the link away

	removed, e5 := f.add(5, nil)
	delete(f.spaces, removed.NetNS)
	f.known(removed, e5)
	f.links = f.links[:len(f.links)-1]

	host := bridged.Sandbox{ID: "h", Name: "h", Mode: bridged.ModeHost, Settled: true}
	lease := bridged.Endpoint{ID: "l", Network: "n1", Sandbox: "key", MAC: bridged.MAC{2, 9}, IPv4: netip.MustParsePrefix("10.1.0.9/24")}
	lost := bridged.Endpoint{ID: "o", Network: "forgotten", Sandbox: "key", MAC: bridged.MAC{2, 8}, IPv4: netip.MustParsePrefix("10.2.0.9/24")}
	leased := f.publish(9090, lease)
	f.x.apply(bridged.Change{
		Sandboxes: map[string]*bridged.Sandbox{"h": &host}, Endpoints: map[string]*bridged.Endpoint{"l": &lease, "o": &lost},
		Ports: map[bridged.Binding]*bridged.Port{leased.Binding: &leased},
		Links: map[bridged.LinkID]*bridged.Link{{Parent: "gone", Child: s2.ID}: {Parent: "gone", Child: s2.ID}},
	})
	f.run()
	if got, want := f.names(), []string{"c2", "c4", "h"}; !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	if _, there := f.x.Ports[stale.Binding]; there || len(f.x.Ports) != 2 || len(f.x.Links) != 0 {
		t.Errorf("ports %v, links %v", f.x.Ports, f.x.Links)
	}
	for id, want := range map[string]bool{e2.ID: true, e3.ID: false, e4.ID: true, e5.ID: false, "l": true, "o": false} {
		if _, there := f.x.Endpoints[id]; there != want {
			t.Errorf("endpoint %.4s is there: %t", id, there)
		}
	}
	if s, there := f.x.Sandboxes[removed.ID]; !there || s.Settled {
		t.Errorf("the removed sandbox is to be collected: %t, %+v", there, s)
	}
}

// A pair without elements was just being made or removed: it is neither a sandbox nor worth a warning. One with elements makes its
// sandbox, also where the log says that this was not done.
func TestRebuildHalfDone(t *testing.T) {
	f := newRuins()
	s, e := f.add(2, nil)
	s.Settled = false
	f.known(s, e)
	half, e3 := f.add(3, nil)
	for _, element := range forwarding.Endpoint(f.x.Networks["n1"], e3, nil) {
		delete(f.r.elements, element)
	}
	f.run()
	if got := f.names(); !slices.Equal(got, []string{"c2"}) {
		t.Errorf("there are %v", got)
	}
	if _, there := f.x.Sandboxes[half.ID]; there || len(f.r.warnings) != 1 {
		t.Errorf("the half-made one is there: %t, warnings %q", there, f.r.warnings)
	}
	// Without tables there is nothing to tell by.
	f = newRuins()
	f.r.noRules, f.r.noPorts = true, true
	f.add(2, nil)
	f.r.elements = make(nft.Elements)
	f.run()
	if got := f.names(); !slices.Equal(got, []string{"c2"}) {
		t.Errorf("without tables there are %v", got)
	}
}

// Links between sandboxes are what elements let through.
func TestRebuildLinks(t *testing.T) {
	f := newRuins()
	s2, e2 := f.add(2, nil)
	s3, e3 := f.add(3, nil)
	s4, e4 := f.add(4, nil)
	n := f.x.Networks["n1"]
	open := func(from, to bridged.Endpoint, ports ...bridged.ProtoPort) {
		for _, element := range forwarding.Link(n, from, to, ports) {
			f.r.elements[element] = struct{}{}
		}
	}
	web, dns := bridged.ProtoPort{Proto: bridged.TCP, Port: 80}, bridged.ProtoPort{Proto: bridged.UDP, Port: 53}
	open(e2, e3, dns, web)
	open(e3, e4, web)
	f.known(s3, e3)
	f.known(s4, e4)
	f.x.apply(bridged.Change{Links: map[bridged.LinkID]*bridged.Link{
		{Parent: s3.ID, Child: s4.ID}: {Parent: s3.ID, Child: s4.ID, Alias: "db", Ports: []bridged.ProtoPort{dns, web}},
		{Parent: s4.ID, Child: s3.ID}: {Parent: s4.ID, Child: s3.ID, Ports: []bridged.ProtoPort{web}},
	}})
	f.run()
	for id, want := range map[bridged.LinkID]bridged.Link{
		{Parent: s2.ID, Child: s3.ID}: {Alias: "c3", Ports: []bridged.ProtoPort{dns, web}},
		{Parent: s3.ID, Child: s4.ID}: {Alias: "db", Ports: []bridged.ProtoPort{web}},
		{Parent: s4.ID, Child: s3.ID}: {Ports: []bridged.ProtoPort{web}, Gone: true},
	} {
		if got, there := f.x.Links[id]; !there || got.Alias != want.Alias || got.Gone != want.Gone || !slices.Equal(got.Ports, want.Ports) {
			t.Errorf("link %.2s to %.2s is %+v, want %+v", id.Parent, id.Child, got, want)
		}
	}
}

// Namespaces that we made and that no link is in.
func TestRebuildUnlinked(t *testing.T) {
	f := newRuins()
	id := strings.Repeat("0a", idSize)
	f.spaces[namespaceDir+"/c9"], f.r.marked[namespaceDir+"/c9"] = bridged.NamespaceID{Dev: 4, Ino: 9}, id
	f.r.marked[namespaceDir+"/dead"] = strings.Repeat("0b", idSize)
	f.spaces[namespaceDir+"/theirs"], f.r.marked[namespaceDir+"/theirs"] = bridged.NamespaceID{Dev: 4, Ino: 8}, "no id of ours"
	f.run()
	if s := f.x.Sandboxes[id]; len(f.x.Sandboxes) != 1 || s.Name != "c9" || s.Mode != bridged.ModeNone || !s.Made || !s.Settled {
		t.Errorf("there are %+v", f.x.Sandboxes)
	}
}
