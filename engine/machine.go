package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/conntrack"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/internal/fault"
	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/internal/reserve"
	"github.com/bridged/bridged/internal/sysctl"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
)

// machine is the real host: the network namespace that the daemon was started in.
type machine struct {
	ns    *netns.NS
	links *link.Conn
	addrs *addr.Conn
	rules *nft.Writer
	log   *slog.Logger
	less  less
	// watchers are the subscriptions until they are run.
	watchers *watchers
	// doubts is sent to when what the kernel holds is in doubt: see doubt.
	doubts chan struct{}
	// keep is that of Config.HandOn.
	keep func(*os.File)
}

// less makes a kernel with less out of the one that is there, for tests. The zero less is the kernel as it is.
type less struct {
	// refuse is that of [nft.Options].
	refuse func(nft.Message) unix.Errno
	// ipv6 is why there is no IPv6.
	ipv6 error
	// fault makes requests of all packages below go wrong.
	fault fault.Inject
	// subscribed is told the subscriptions, to close them underneath.
	subscribed func(*watchers)
}

func openMachine(cfg Config, less less) (_ *machine, err error) {
	m := &machine{log: cfg.Log, less: less, doubts: make(chan struct{}, 1), keep: cfg.HandOn}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	if m.ns, err = netns.Current(); err != nil {
		return nil, err
	}
	if m.links, err = link.DialWith(link.Options{In: m.ns.Do, Fault: less.fault}); err != nil {
		return nil, fmt.Errorf("cannot open a rtnetlink socket: %w", err)
	}
	if m.addrs, err = addr.DialWith(addr.Options{In: m.ns.Do, Fault: less.fault}); err != nil {
		return nil, fmt.Errorf("cannot open a rtnetlink socket: %w", err)
	}
	m.rules, err = nft.Dial(nft.Options{
		Protection: cfg.Protection, Socket: cfg.Socket, Refuse: less.refuse, Fault: less.fault, In: m.ns.Do, Died: m.doubt,
	})
	if err != nil {
		return nil, translate(err)
	}
	m.handOn()
	return m, nil
}

// doubt is called when something may have changed that the kernel did not tell.
func (m *machine) doubt() {
	select {
	case m.doubts <- struct{}{}:
	default: // it is known already
	}
}

// handOn gives the packet filter's socket to who keeps it.
func (m *machine) handOn() {
	if m.keep == nil {
		return
	}
	socket, err := m.rules.Socket()
	if err != nil { // it died, and there is no other yet
		m.keep(nil)
		return
	}
	m.keep(socket)
	_ = socket.Close() // nobody writes to it
}

// here are the options of a connection that is used where it is dialled, and on that thread.
func (m *machine) here() link.Options {
	return link.Options{In: func(f func() error) error { return f() }, Fault: m.less.fault}
}

func (m *machine) close() error {
	var errs []error
	if m.watchers != nil {
		errs = append(errs, m.watchers.close())
	}
	if m.rules != nil {
		errs = append(errs, m.rules.Close())
	}
	if m.addrs != nil {
		errs = append(errs, m.addrs.Close())
	}
	if m.links != nil {
		errs = append(errs, m.links.Close())
	}
	if m.ns != nil {
		errs = append(errs, m.ns.Close())
	}
	return errors.Join(errs...)
}

// translate gives the kernel's errors the kind that a user can act on.
func translate(err error) error {
	switch {
	case err == nil || bridged.Code(err) != "internal":
		return err
	case errors.Is(err, nft.ErrOwned):
		return bridged.Errorf(bridged.ErrConflict, "%w", err)
	case errors.Is(err, nft.ErrNoKernelSupport), errors.Is(err, nft.ErrClosed):
		return bridged.Errorf(bridged.ErrUnavailable, "%w", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return bridged.Errorf(bridged.ErrDenied, "%w", err)
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EADDRINUSE):
		return bridged.Errorf(bridged.ErrConflict, "%w", err)
	}
	return err
}

func (m *machine) ownership() (string, uint64) { return m.rules.Protection(), m.rules.Transactions() }

func (m *machine) tables(ctx context.Context) ([]nft.TableID, error) { return m.rules.Tables(ctx) }

func (m *machine) probe() (k hostcheck.Kernel, err error) {
	err = m.ns.Do(func() error {
		k, err = hostcheck.Probe(m.less.refuse)
		return err
	})
	return k, err
}

func (m *machine) adopt(ctx context.Context) error {
	var ids []nft.TableID
	for _, t := range Program() {
		ids = append(ids, t.ID)
	}
	return m.rules.Adopt(ctx, ids)
}

func (m *machine) do(ctx context.Context, s step) error {
	switch s := s.(type) {
	case commit:
		return m.torn(m.rules.Commit(ctx, s.tx))
	case addPair:
		return m.addPair(s.pair)
	case join:
		return m.join(s.pair)
	case delPair:
		return m.links.Delete(s.Host)
	case enslave:
		return m.enslave(s)
	case isolate:
		return m.onLink(s.host, func(l link.Link) error { return m.links.SetIsolated(l.Index, s.closed) })
	case setAlias:
		return m.onLink(s.host, func(l link.Link) error { return m.links.SetAlias(l.Index, s.text) })
	case addBridge:
		_, err := m.links.CreateBridge(s.Bridge)
		return err
	case takeBridge:
		return m.onLink(s.Name, func(l link.Link) error {
			return cmp.Or(m.links.TakeBridge(s.Bridge), m.links.SetMTU(l.Index, s.MTU))
		})
	case delBridge:
		return m.links.Delete(s.name)
	case setBridge:
		return m.onLink(s.Name, func(l link.Link) error {
			return errors.Join(m.links.SetMAC(l.Index, s.MAC), m.links.SetMTU(l.Index, s.MTU))
		})
	case upBridge:
		return m.onLink(s.name, func(l link.Link) error { return m.links.SetUp(l.Index) })
	case addAddr:
		return m.onLink(s.bridge, func(l link.Link) error {
			err := m.addrs.Add(addr.Address{Link: l.Index, Prefix: s.prefix, NoDAD: true})
			if errors.Is(err, unix.EEXIST) {
				return nil // the kernel made the link-local one itself
			}
			return err
		})
	case addConnected:
		return m.onLink(s.bridge, func(l link.Link) error { return m.addrs.AddRoute(s.route(l.Index)) })
	case delAddr:
		return m.onLink(s.bridge, func(l link.Link) error {
			return m.addrs.Delete(addr.Address{Link: l.Index, Prefix: s.prefix})
		})
	case setSysctl:
		return m.ns.Do(func() error { return setUnlessAbsent(s.Sysctl) })
	case addRoute:
		return m.addRoute(s)
	case delRoute:
		return m.delRoute(s)
	case forward:
		return m.ns.Do(s.set)
	case leaveBridge:
		return m.leaveBridge(s)
	}
	return fmt.Errorf("unknown step %T", s)
}

// route is just the one that the kernel makes with an address (fib_add_ifaddr, addrconf_prefix_route), and takes away with it.
func (s addConnected) route(index int) addr.Route {
	r := addr.Route{Dst: s.prefix.Masked(), Link: index, Protocol: unix.RTPROT_KERNEL}
	if s.prefix.Addr().Is4() {
		r.Source = s.prefix.Addr()
	} else {
		r.Priority = 256 // IP6_RT_PRIO_ADDRCONF
	}
	return r
}

func (m *machine) onLink(name string, f func(link.Link) error) error {
	l, err := m.links.ByName(name)
	if err != nil {
		return err
	}
	return f(l)
}

func (m *machine) linked(hostEnd string) (bool, error) {
	l, err := m.links.ByName(hostEnd)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return m.links.PeerLives(l)
}

func (m *machine) addPair(p pair) error {
	ns, err := openExactly(p.netns, p.nsid)
	if err != nil {
		return err
	}
	defer ns.Close()
	_, _, err = m.links.CreatePair(p.Pair, ns.FD())
	return err
}

// join sets the inner end up, in one visit to the namespace.
func (m *machine) join(p pair) error {
	ns, err := openExactly(p.netns, p.nsid)
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(func() error {
		for _, s := range append(innerSysctls(p), p.sysctls...) {
			if err := sysctl.Set(s.Path, s.Value); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		failpoint.Reached("inner end's settings made")
		conn, err := link.DialWith(m.here())
		if err != nil {
			return err
		}
		defer conn.Close()
		l, err := conn.ByName(p.Inner)
		if err != nil {
			return err
		}
		in := p.inner
		in.Index = l.Index
		return conn.Configure(in)
	})
}

// innerSysctls are set before the inner end goes up: without IPv6 it has no link-local address, and with it that can be used at once, like
// the other addresses, which nobody else has.
func innerSysctls(p pair) []forwarding.Sysctl {
	conf := "net/ipv6/conf/" + p.Inner + "/"
	if !p.inner.IPv6 {
		return []forwarding.Sysctl{{Path: conf + "disable_ipv6", Value: "1"}}
	}
	return []forwarding.Sysctl{{Path: conf + "accept_dad", Value: "0"}, {Path: conf + "disable_ipv6", Value: "0"}}
}

func (m *machine) enslave(s enslave) error {
	return m.onLink(s.bridge, func(b link.Link) error {
		return m.onLink(s.host, func(l link.Link) error {
			return cmp.Or(m.links.SetMaster(l.Index, b.Index, s.isolated), m.links.SetUp(l.Index))
		})
	})
}

func (m *machine) delPairs(names []string) error { return m.links.Delete(names...) }

func (m *machine) announce(p pair) error {
	// Asking for the link makes the kernel finish what it does when a port gets its carrier: before, the port may not forward.
	if _, err := m.links.ByName(p.Host); err != nil {
		return err
	}
	ns, err := openExactly(p.netns, p.nsid)
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(func() error {
		conn, err := link.DialWith(m.here())
		if err != nil {
			return err
		}
		defer conn.Close()
		l, err := conn.ByName(p.Inner)
		if err != nil {
			return err
		}
		a := addr.Announcement{Link: l.Index, MAC: p.MAC}
		for _, prefix := range p.inner.Addrs {
			a.Addrs = append(a.Addrs, prefix.Addr())
		}
		return addr.Announce(a)
	})
}

// set runs in the host's namespace. A host that takes its own default route from router advertisements would lose it with
// forwarding, unless accept_ra is 2 (Documentation/networking/ip-sysctl.rst).
func (s forward) set() error {
	if s.off {
		return sysctl.Set(s.sysctl().Path, "0")
	}
	if s.ipv6 {
		interfaces, err := os.ReadDir("/proc/sys/net/ipv6/conf")
		if err != nil {
			return err
		}
		for _, i := range interfaces {
			ra := forwarding.AcceptRA(i.Name())
			if v, err := sysctl.Get(ra.Path); err == nil && v == "1" {
				if err := sysctl.Set(ra.Path, ra.Value); err != nil {
					return err
				}
			}
		}
	}
	return sysctl.Set(s.sysctl().Path, s.sysctl().Value)
}

func (s forward) sysctl() forwarding.Sysctl {
	return forwarding.HostSysctls(bridged.Forwarding{IPv4: !s.ipv6, IPv6: s.ipv6})[0]
}

// setUnlessAbsent sets what can be set.
func setUnlessAbsent(s forwarding.Sysctl) error {
	if err := sysctl.Set(s.Path, s.Value); !absentIPv6(s, err) {
		return err
	}
	return nil
}

// absentIPv6: the parameter is one of IPv6, and there is no IPv6 on that link (this kernel has none, or the link's MTU is below 1280), so that
// there is nothing to be restricted.
func absentIPv6(s forwarding.Sysctl, err error) bool {
	return strings.HasPrefix(s.Path, "net/ipv6/") && errors.Is(err, os.ErrNotExist)
}

// bridgeFilterNow says whether br_netfilter is on.
func bridgeFilterNow() bool {
	for _, path := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"} {
		if v, err := sysctl.Get(path); err == nil && v != "0" {
			return true
		}
	}
	return false
}

func forwardingNow() bridged.Forwarding {
	v4, _ := sysctl.Get(forward{}.sysctl().Path)
	v6, _ := sysctl.Get(forward{ipv6: true}.sysctl().Path)
	return bridged.Forwarding{IPv4: v4 == "1", IPv6: v6 == "1"}
}

func (m *machine) facts() (facts, error) {
	var f facts
	var err error
	if f.namespace, err = identity(m.ns); err != nil {
		return f, err
	}
	if f.links, err = m.links.List(); err != nil {
		return f, err
	}
	if f.addresses, err = m.addrs.Addresses(); err != nil {
		return f, err
	}
	if f.taken, err = m.taken(); err != nil {
		return f, err
	}
	f.mtu = defaultRouteMTU(f.taken.Routes, f.links)
	if id, err := os.ReadFile("/etc/machine-id"); err == nil {
		f.machineID = []byte(strings.TrimSpace(string(id)))
	}
	err = m.ns.Do(func() error {
		f.forwarding = forwardingNow()
		if f.noIPv6 = m.less.ipv6; f.noIPv6 == nil {
			f.noIPv6 = hostcheck.AskIPv6()
		}
		f.bridgeFilter = bridgeFilterNow()
		return nil
	})
	return f, err
}

// nameservers are those that the resolver asks, as far as that can be read.
func (m *machine) nameservers() []netip.Addr {
	servers, err := hostcheck.Nameservers()
	if err != nil {
		m.log.Debug("cannot read the resolver's configuration", "error", err)
	}
	return servers
}

// taken is what addresses are in use. A resolver file that can't be read is none of the caller's business.
func (m *machine) taken() (t hostcheck.Taken, err error) {
	err = m.ns.Do(func() error {
		t, err = hostcheck.ReadTaken(nil)
		if t.Links == nil {
			return err
		}
		if err != nil {
			m.log.Warn("cannot read the resolver's configuration", "error", err)
		}
		return nil
	})
	return t, err
}

func defaultRouteMTU(routes []addr.Route, links []link.Link) int {
	for _, r := range routes {
		if r.Dst.Bits() != 0 || r.Table != unix.RT_TABLE_MAIN {
			continue
		}
		if i := slices.IndexFunc(links, func(l link.Link) bool { return l.Index == r.Link }); i >= 0 {
			return links[i].MTU
		}
	}
	return 0
}

func (m *machine) makeNamespace(s bridged.Sandbox) (bridged.NamespaceID, error) {
	ns, err := netns.Make(s.NetNS, s.ID)
	if err != nil {
		return bridged.NamespaceID{}, translate(err)
	}
	defer ns.Close()
	failpoint.Reached("namespace made")
	id, err := identity(ns)
	if err == nil {
		err = m.loopbackUp(ns)
	}
	if err != nil {
		return bridged.NamespaceID{}, errors.Join(fmt.Errorf("cannot set up namespace %s: %w", s.NetNS, err), netns.Remove(s.NetNS))
	}
	return id, nil
}

func (m *machine) loopbackUp(ns *netns.NS) error {
	return ns.Do(func() error {
		conn, err := link.DialWith(m.here())
		if err != nil {
			return err
		}
		defer conn.Close()
		lo, err := conn.ByName("lo")
		if err != nil {
			return err
		}
		return conn.SetUp(lo.Index)
	})
}

func identity(ns *netns.NS) (bridged.NamespaceID, error) {
	dev, ino := ns.ID()
	cookie, err := ns.Cookie()
	return bridged.NamespaceID{Dev: dev, Ino: ino, Cookie: cookie}, err
}

// openExactly opens the namespace at path when it is that one. Another one there is an error: what was meant for a sandbox must not
// reach somebody else's.
func openExactly(path string, id bridged.NamespaceID) (*netns.NS, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	now, err := identity(ns)
	if err == nil && now != id {
		err = bridged.Errorf(bridged.ErrNotFound, "%s is another namespace now: %w", path, unix.ENOENT)
	}
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

func (m *machine) mountNamespace(s bridged.Sandbox, path, further string) error {
	ns, err := netns.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Mount(further, s.ID)
}

// removeNamespace leaves alone what somebody else put at the path. A namespace is the sandbox's by its identity, and where a crash left
// none by its mark; so is the file of a namespace that is not mounted yet, or no more.
func (m *machine) removeNamespace(s bridged.Sandbox, path string) error {
	now, err := m.namespace(path, 0)
	if scarce(err) {
		return err // who it is is not known
	}
	if err == nil && s.NSID != (bridged.NamespaceID{}) {
		if now != s.NSID {
			return nil
		}
		return netns.Remove(path)
	}
	mark, err := netns.Mark(path)
	if err != nil || mark != s.ID && filepath.Base(path) != s.ID {
		return err
	}
	return netns.Remove(path)
}

func (m *machine) exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (m *machine) namespace(path string, pid int) (bridged.NamespaceID, error) {
	open := func() (*netns.NS, error) { return netns.Open(path) }
	if pid != 0 {
		open = func() (*netns.NS, error) { return netns.OpenPID(pid) }
	}
	ns, err := open()
	if err != nil {
		return bridged.NamespaceID{}, bridged.Errorf(bridged.ErrInvalid, "%w", err)
	}
	defer ns.Close()
	return identity(ns)
}

func (m *machine) inhabited() (map[netns.File]string, error) { return netns.Inhabited() }

func (m *machine) reserve(b bridged.Binding) (io.Closer, error) {
	var s *reserve.Socket
	err := m.ns.Do(func() (err error) {
		s, err = reserve.Bind(reserve.Port{Addr: b.HostIP, Proto: uint8(b.Proto), Port: b.HostPort})
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (m *machine) ephemeral() (first, last uint16, reserved func(uint16) bool, err error) {
	err = m.ns.Do(func() (err error) {
		first, last, reserved, err = reserve.Ephemeral()
		return err
	})
	return first, last, reserved, err
}

func (m *machine) purge(flows []conntrack.Flow, addrs []netip.Addr) error {
	return m.ns.Do(func() error {
		_, err := conntrack.Purge(flows, addrs)
		return err
	})
}
