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
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/conntrack"
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
	ipv6  *sysctl.Dir // parameters of the host's links; nil: there are none, or they can't be looked at
	links *link.Conn
	addrs *addr.Conn
	rules *nft.Writer
	flows conntrack.Purger
	stock reserve.Stock // for the host's side of ports
	held  heldNamespaces
	log   *slog.Logger
	less  less
	// watchers are the subscriptions until they are run.
	watchers *watchers
	// doubts is sent to when what the kernel holds is in doubt: see doubt.
	doubts chan struct{}
	// keep is that of Config.HandOn.
	keep func(*os.File)
	// ahead is the look at our rules that was begun when the machine was opened; nil: it was used.
	ahead atomic.Pointer[glance]
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
	if conf, err := sysctl.OpenDir("net/ipv6/conf"); err == nil { // else there is no IPv6, or it does without
		m.ipv6 = conf
	}
	if m.links, err = link.DialWith(link.Options{In: m.ns.Do, Fault: less.fault}); err != nil {
		return nil, fmt.Errorf("cannot open a rtnetlink socket: %w", err)
	}
	if m.addrs, err = addr.DialWith(addr.Options{In: m.ns.Do, Fault: less.fault}); err != nil {
		return nil, fmt.Errorf("cannot open a rtnetlink socket: %w", err)
	}
	if err = m.flows.Open(); err != nil {
		return nil, err
	}
	m.rules, err = nft.Dial(nft.Options{
		Protection: cfg.Protection, Socket: cfg.Socket, Refuse: less.refuse, Fault: less.fault, In: m.ns.Do, Died: m.doubt,
	})
	if err != nil {
		return nil, translate(err)
	}
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

// here are the options of a connection that is used where it is dialled, and on that thread: in the namespace of a container, which may have
// made any number of addresses and routes.
func (m *machine) here() link.Options {
	return link.Options{In: func(f func() error) error { return f() }, Fault: m.less.fault, MaxList: mostInside}
}

// mostInside is how many addresses or routes of a container are read, in numbers that none has that is not up to something, or a router.
const mostInside = 1 << 14

func (m *machine) close() error {
	var errs []error
	if g := m.ahead.Swap(nil); g != nil {
		<-g.done
	}
	if m.watchers != nil {
		errs = append(errs, m.watchers.close())
	}
	errs = append(errs, m.flows.Close())
	if m.rules != nil {
		errs = append(errs, m.rules.Close())
	}
	if m.addrs != nil {
		errs = append(errs, m.addrs.Close())
	}
	if m.links != nil {
		errs = append(errs, m.links.Close())
	}
	m.stock.Close()
	if m.ipv6 != nil {
		errs = append(errs, m.ipv6.Close())
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
	return m.rules.Adopt(ctx, programIDs())
}

func (m *machine) do(ctx context.Context, s step) error {
	switch s := s.(type) {
	case commit:
		return m.torn(m.rules.Commit(ctx, s.tx))
	case addPair:
		return m.addPair(s.pair)
	case join:
		return m.join(s.pair)
	case setShape:
		return m.links.Shape(s.Host, s.MTU, s.shape)
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
			errs := []error{m.links.SetMAC(l.Index, s.MAC), m.links.SetMTU(l.Index, s.MTU)}
			if s.Promisc != l.Promisc {
				errs = append(errs, m.links.SetPromisc(l.Index, s.Promisc))
			}
			return errors.Join(errs...)
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

func (m *machine) reserve(bindings []bridged.Binding) (sockets []io.Closer, err error) {
	for _, b := range bindings {
		s := m.stock.Bind(reservable(b))
		if s == nil {
			break
		}
		sockets = append(sockets, s)
	}
	if len(sockets) == len(bindings) {
		return sockets, nil
	}
	err = m.ns.Do(func() error {
		for _, b := range bindings[len(sockets):] {
			s, err := m.stock.Make(reservable(b), m.ns.Do) // and some for the next, as long as we are here
			if err != nil {
				return err
			}
			sockets = append(sockets, s)
		}
		return nil
	})
	return sockets, err
}

func (m *machine) restock(bindings []bridged.Binding) error {
	return m.ns.Do(func() error {
		for _, b := range bindings {
			m.stock.Refill(reservable(b))
		}
		return nil
	})
}

func reservable(b bridged.Binding) reserve.Port {
	return reserve.Port{Addr: b.HostIP, Proto: uint8(b.Proto), Port: b.HostPort}
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
		_, err := m.flows.Purge(flows, addrs)
		return err
	})
}
