package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/sysctl"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
)

// CheckAttachment compares an attachment with what the kernel holds of it and its network, and with what of the request names it: the
// namespace, addresses and ports. What others added is no difference. One that is not there is [bridged.ErrNotFound]; everything that
// differs is one [bridged.ErrConflict].
func (e *Engine) CheckAttachment(ctx context.Context, spec bridged.AttachmentSpec) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := checkAttachmentKey(spec.Key); err != nil {
		return err
	}
	defer e.locks.lock("sandbox " + spec.Key.Container)()
	now, gone := e.host.namespace(spec.NetNS, 0)
	// Ports of an earlier daemon are reserved behind the readiness.
	if err := e.holds.wait(ctx, every[bridged.Binding]); err != nil {
		return err
	}
	e.mu.Lock()
	s, endpoint, ok := e.index.attachment(spec.Key)
	var want objects
	var differences []string
	if ok {
		differences = e.differences(s, endpoint, spec)
		if gone != nil || now != s.NSID {
			differences = append(differences, fmt.Sprintf("it is in the namespace %s, which is not the one at %s", s.NetNS, spec.NetNS))
		}
		want = e.wantOf(endpoint)
	}
	e.mu.Unlock()
	if !ok {
		return bridged.Errorf(bridged.ErrNotFound, "there is no %s", spec.Key)
	}
	more, err := e.host.compare(ctx, want)
	if err != nil {
		return fmt.Errorf("cannot check %s: %w", spec.Key, err)
	}
	if differences = append(differences, more...); len(differences) > 0 {
		return bridged.Errorf(bridged.ErrConflict, "%s is not as it must be: %s", spec.Key, strings.Join(differences, "; "))
	}
	return nil
}

// wantOf is what an attachment and its network want. The caller holds e.mu.
func (e *Engine) wantOf(endpoint bridged.Endpoint) objects {
	n := e.index.Networks[endpoint.Network]
	c := bridged.Change{Networks: map[string]*bridged.Network{n.ID: &n}, Ports: make(map[bridged.Binding]*bridged.Port)}
	for b := range e.index.ports[endpoint.Sandbox] {
		if p := e.index.Ports[b]; p.Endpoint == endpoint.ID {
			c.Ports[b] = &p
		}
	}
	return e.compiler().want(c, touched{endpoints: map[string]struct{}{endpoint.ID: {}}})
}

// differences are those between the state and a request. The caller holds e.mu.
func (e *Engine) differences(s bridged.Sandbox, endpoint bridged.Endpoint, spec bridged.AttachmentSpec) (all []string) {
	for _, ip := range spec.IPs {
		if !slices.Contains(endpoint.Addrs(), ip) {
			all = append(all, fmt.Sprintf("address %s is not reserved for it", ip))
		}
	}
	for _, p := range spec.Ports {
		found := slices.DeleteFunc(e.index.matching(s, p), func(p bridged.Port) bool { return p.Endpoint != endpoint.ID })
		if len(found) == 0 {
			all = append(all, fmt.Sprintf("port %s is not published", p))
		}
		for _, p := range found {
			if !e.book.holds(p.Binding) {
				all = append(all, fmt.Sprintf("the host's port of %s is not held: another process has it", p))
			}
		}
	}
	return all
}

// compare says in what the kernel differs from what is wanted, in words.
func (m *machine) compare(ctx context.Context, want objects) (differences []string, err error) {
	have, err := m.look(want)
	if err != nil {
		return nil, err
	}
	for _, s := range diff(have, want) {
		differences = append(differences, "missing is: "+firstLine(s.String()))
	}
	var elements []nft.Element
	for e := range want.elements {
		elements = append(elements, e)
	}
	missing, err := m.rules.Missing(ctx, elements)
	if err != nil {
		return nil, err
	}
	for _, e := range missing {
		differences = append(differences, fmt.Sprintf("set %s has lost an element", e.Set))
	}
	for _, name := range sortedKeys(want.pairs) {
		inside, err := m.compareInside(want.pairs[name])
		if err != nil {
			return nil, err
		}
		differences = append(differences, inside...)
	}
	slices.Sort(differences)
	return differences, nil
}

// compareInside looks at the inner end of a pair. Whoever came later may have changed its MAC and MTU, and added to it.
func (m *machine) compareInside(p pair) (differences []string, err error) {
	differ := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	ns, err := openExactly(p.netns, p.nsid)
	if scarce(err) {
		return nil, err
	}
	if err != nil {
		differ("namespace %s: %v", p.netns, err)
		return differences, nil
	}
	defer ns.Close()
	err = ns.Do(func() error {
		links, err := link.DialBriefly(m.here())
		if err != nil {
			return err
		}
		defer links.Close()
		inner, err := links.ByName(p.Inner)
		if errors.Is(err, unix.ENODEV) {
			differ("there is no interface %s in %s", p.Inner, p.netns)
			return nil
		}
		if err != nil {
			return err
		}
		if !inner.Up && !p.inner.Down {
			differ("interface %s is down", p.Inner)
		}
		for _, s := range p.sysctls {
			if have, err := sysctl.Get(s.Path); err != nil || !slices.Equal(strings.Fields(have), strings.Fields(s.Value)) {
				differ("sysctl %s is %q, not %q", s.Path, have, s.Value)
			}
		}
		addrs, err := addr.DialWith(m.here())
		if err != nil {
			return err
		}
		defer addrs.Close()
		addresses, err := addrs.AddressesOf(inner.Index)
		if err != nil {
			return err
		}
		for _, a := range p.inner.Addrs {
			if !slices.ContainsFunc(addresses, func(h addr.Address) bool { return h.Prefix.Addr() == a.Addr() && !h.Failed }) {
				differ("interface %s has no address %s", p.Inner, a)
			}
		}
		if len(p.inner.Routes) == 0 {
			return nil
		}
		routes, err := addrs.RoutesOf(inner.Index)
		for _, r := range p.inner.Routes {
			if !slices.ContainsFunc(routes, func(h addr.Route) bool { return serves(h, r) }) {
				differ("interface %s has no route %s", p.Inner, r)
			}
		}
		return err
	})
	return differences, err
}

// serves says whether the kernel's route is the one that was set.
func serves(have, set addr.Route) bool {
	table := set.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	return have.Dst == set.Dst && have.Gateway == set.Gateway && have.Table == table && (set.Priority == 0 || have.Priority == set.Priority)
}
