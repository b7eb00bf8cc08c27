package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/internal/sysctl"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
)

func (m *machine) observe(want objects, l *listing) (objects, error) {
	have := newObjects()
	if l == nil {
		links, err := m.links.List()
		if err != nil {
			return have, err
		}
		l = &listing{links: links}
	}
	if err := m.observeLinks(&have, want, *l, true); err != nil {
		return have, err
	}
	m.observeRoutes(&have, want)
	return have, m.ns.Do(func() error { have.forwarding = forwardingNow(); return nil })
}

// glance is a look at our rules that was begun before anybody asked for it.
type glance struct {
	done  chan struct{}
	rules *nft.Inventory // good when done is closed; nil: nothing was seen
}

// lookAhead begins to list our rules: a start asks for them only when it knows what is wanted, and its first milliseconds are the log's.
func (m *machine) lookAhead() {
	g := &glance{done: make(chan struct{})}
	m.ahead.Store(g)
	go func() {
		defer close(g.done)
		rules, err := m.listRules(context.Background())
		if err == nil {
			g.rules = rules
		}
	}()
}

// observeRules takes the look ahead, if nobody has changed anything since.
func (m *machine) observeRules(ctx context.Context) (*nft.Inventory, error) {
	if g := m.ahead.Swap(nil); g != nil {
		<-g.done
		if g.rules != nil {
			if still, err := m.rules.Still(ctx, g.rules); err != nil || still {
				return g.rules, err
			}
		}
	}
	return m.listRules(ctx)
}

func (m *machine) listRules(ctx context.Context) (*nft.Inventory, error) {
	return m.rules.TakeInventory(ctx, programIDs()...)
}

// programIDs are our tables.
func programIDs() (ids []nft.TableID) {
	for _, t := range Program() {
		ids = append(ids, t.ID)
	}
	return ids
}

func (m *machine) look(want objects) (objects, error) {
	have := newObjects()
	have.tables, have.elements = want.tables, want.elements
	if want.forwarding != (bridged.Forwarding{}) {
		if err := m.ns.Do(func() error { have.forwarding = forwardingNow(); return nil }); err != nil {
			return have, err
		}
	}
	names := make(map[string]struct{}, len(want.pairs)+len(want.bridges))
	for name, p := range want.pairs {
		names[name], names[p.Bridge] = struct{}{}, struct{}{}
	}
	for name := range want.bridges {
		names[name] = struct{}{}
	}
	var links []link.Link
	for name := range names {
		l, err := m.links.ByName(name)
		switch {
		case errors.Is(err, unix.ENODEV):
			continue
		case err != nil:
			return have, err
		}
		links = append(links, l)
	}
	if err := m.observeLinks(&have, want, listing{links: links}, false); err != nil {
		return have, err
	}
	maps.DeleteFunc(have.bridges, func(name string, _ bridge) bool { _, ok := want.bridges[name]; return !ok })
	have.shapers = maps.Clone(want.shapers)
	have.routes = maps.Clone(want.routes)
	maps.DeleteFunc(have.routes, func(id routeID, _ route) bool { _, ok := have.pairs[id.host]; return !ok })
	return have, nil
}

// observeLinks finds our bridges and pairs among the links. Of a bridge's addresses it shows those that are wanted: what others added is
// left alone. With doubt it looks whether an attach was finished, which only a start, or a repair of everything, may have to ask: what becomes of
// the inner end later is the container's own business.
func (m *machine) observeLinks(have *objects, want objects, listed listing, doubt bool) error {
	names := make(map[int]string, len(listed.links))
	for _, l := range listed.links {
		names[l.Index] = l.Name
	}
	for _, l := range listed.links {
		if l.Kind == "bridge" && (l.Ours() || want.bridges[l.Name].mayTake || want.bridges[l.Name].given) {
			have.bridges[l.Name] = bridge{
				Bridge: link.Bridge{Name: l.Name, MAC: l.MAC, MTU: l.MTU, Promisc: l.Promisc && want.bridges[l.Name].Promisc}, up: l.Up, ours: l.Ours(), given: !l.Ours(),
			}
		}
		if l.Kind == "ifb" && l.Ours() && strings.HasPrefix(l.Name, bridged.ShaperPrefix) {
			have.shapers[l.Name] = struct{}{}
		}
		if l.Kind == "veth" && l.Ours() && strings.HasPrefix(l.Name, bridged.PortPrefix) {
			p := want.pairs[l.Name]
			p.Host, p.Bridge, p.Isolated, p.Alias = l.Name, names[l.Master], l.Isolated, l.Alias
			p.joined = l.Running || !doubt || !m.unjoined(p)
			p.astray = !l.Up || l.Hairpin == p.NoHairpin || p.MTU != 0 && l.MTU != p.MTU
			have.pairs[l.Name] = p
		}
	}
	if err := m.observeShapes(have); err != nil {
		return err
	}
	if len(want.bridges) == 0 || len(have.bridges) == 0 {
		return nil
	}
	listed, err := m.withSettings(listed, have.bridges, names)
	if err != nil {
		return err
	}
	for _, a := range listed.addresses {
		b, ok := have.bridges[names[a.Link]]
		if ok && slices.Contains(want.bridges[b.Name].addrs, a.Prefix) {
			b.addrs = append(b.addrs, a.Prefix)
			have.bridges[b.Name] = b
		}
	}
	for _, r := range listed.routes {
		b, ok := have.bridges[names[r.Link]]
		if !ok || r.Type != unix.RTN_UNICAST || r.Gateway.IsValid() {
			continue
		}
		for _, a := range b.addrs {
			if a.Masked() == r.Dst && !slices.Contains(b.connected, a) {
				b.connected = append(b.connected, a)
				have.bridges[b.Name] = b
			}
		}
	}
	return m.observeSysctls(have, want)
}

// observeShapes looks at what limits those pairs that are to be limited.
func (m *machine) observeShapes(have *objects) error {
	for name, p := range have.pairs {
		if p.shape == (link.Shaping{}) {
			continue
		}
		same, err := m.links.Shaped(name, p.shape)
		switch {
		case errors.Is(err, unix.ENODEV): // it went just now
			continue
		case err != nil:
			return err
		case !same:
			p.shape = link.Shaping{}
			have.pairs[name] = p
		}
	}
	return nil
}

// fewBridges are so few that each one's addresses and routes are asked for, instead of those of all links.
const fewBridges = 4

// withSettings adds the addresses and routes of bridges to a listing that has none, and maybe more; names are those of links, by index.
func (m *machine) withSettings(l listing, bridges map[string]bridge, names map[int]string) (_ listing, err error) {
	if l.settings {
		return l, nil
	}
	if len(bridges) > fewBridges {
		if l.addresses, err = m.addrs.Addresses(); err == nil {
			l.routes, err = m.addrs.Routes()
		}
		return l, err
	}
	for index, name := range names {
		if _, ok := bridges[name]; !ok {
			continue
		}
		a, err := m.addrs.AddressesOf(index)
		if err != nil {
			return l, err
		}
		r, err := m.addrs.RoutesOf(index)
		if err != nil {
			return l, err
		}
		l.addresses, l.routes = append(l.addresses, a...), append(l.routes, r...)
	}
	return l, nil
}

func (m *machine) observeSysctls(have *objects, want objects) error {
	return m.ns.Do(func() error {
		for name, b := range have.bridges {
			wanted := want.bridges[name].sysctls
			paths := make([]string, len(wanted))
			for i, s := range wanted {
				paths[i] = s.Path
			}
			sysctl.Each(paths, func(i int, v string, err error) {
				s := wanted[i]
				if absentIPv6(s, err) {
					v, err = s.Value, nil
				}
				if err == nil {
					b.sysctls = append(b.sysctls, forwarding.Sysctl{Path: s.Path, Value: v})
				}
			})
			have.bridges[name] = b
		}
		return nil
	})
}

// unjoined says whether a pair without a carrier is one whose attach never came to its second datagram: the inner end is down, and has no
// address. A container that only took its interface down is left alone.
func (m *machine) unjoined(p pair) bool {
	if p.netns == "" || p.inner.Down {
		return false // nobody wants it, or it is to be so
	}
	ns, err := openExactly(p.netns, p.nsid)
	if err != nil {
		return false
	}
	defer ns.Close()
	unjoined := false
	err = ns.Do(func() error {
		links, err := link.DialBriefly(m.here())
		if err != nil {
			return err
		}
		defer links.Close()
		inner, err := links.ByName(p.Inner)
		if err != nil || inner.Up {
			return err
		}
		addrs, err := addr.DialWith(m.here())
		if err != nil {
			return err
		}
		defer addrs.Close()
		all, err := addrs.AddressesOf(inner.Index)
		unjoined = err == nil && len(all) == 0
		return err
	})
	return err == nil && unjoined
}
