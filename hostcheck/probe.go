package hostcheck

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
	"github.com/bridged/bridged/internal/sysctl"
	"github.com/bridged/bridged/nft"
)

// Probe asks the kernel for all features, in the calling thread's network namespace: a caller that is in another one than its
// process locks its goroutine to the thread. It needs CAP_NET_ADMIN there; without, the error is unix.EPERM.
//
// It leaves nothing behind and nobody sees it: what it asks nf_tables for is in transactions that are made to fail, and links
// that it asks for are impossible ones. Only modules that the kernel loads on demand stay loaded. A kernel that has everything
// answers in two transactions; each that fails waits for a grace period, tens of milliseconds.
//
// refuse makes a kernel with less, for tests: see [nft.Options]. nil: it is asked what is there.
func Probe(refuse func(nft.Message) unix.Errno) (Kernel, error) {
	p, err := dialProber(refuse)
	if err != nil {
		return Kernel{}, err
	}
	k, err := Ask(p.ask).Kernel()
	return k, errors.Join(err, p.close())
}

// prober asks the kernel that it runs on.
type prober struct {
	links *rtnl.Socket
	// rules is nil on a kernel without nf_tables; then noRules says so.
	rules   *nft.Writer
	noRules error
	// complete: all programs at once were not refused.
	complete bool
}

func dialProber(refuse func(nft.Message) unix.Errno) (*prober, error) {
	links, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	p := &prober{links: links}
	p.rules, err = nft.Dial(nft.Options{Refuse: refuse})
	switch {
	case errors.Is(err, nft.ErrNoKernelSupport):
		p.noRules = fmt.Errorf("%w: %w", ErrAbsent, err)
		return p, nil
	case err != nil:
		return nil, errors.Join(fmt.Errorf("cannot ask the kernel what it has: %w", err), links.Close())
	}
	var all []nft.Table
	for _, f := range features() {
		all = append(all, scratch(f.Name)...)
	}
	p.complete = p.try(all) == nil
	return p, nil
}

func (p *prober) close() error {
	err := p.links.Close()
	if p.rules != nil {
		err = errors.Join(err, p.rules.Close())
	}
	return err
}

// ask is an [Ask].
func (p *prober) ask(name FeatureName) error {
	if tables := scratch(name); tables != nil {
		if p.noRules != nil || p.complete {
			return p.noRules
		}
		return p.try(tables)
	}
	switch name {
	case NFTables:
		return p.noRules
	case OwnerPersist:
		return p.ownerPersist()
	case Bridge:
		return p.link("bridge")
	case Veth:
		return p.link("veth")
	case ConntrackNetlink:
		return conntrackNetlink()
	case IPv6:
		return AskIPv6()
	case BridgeNetfilter:
		return bridgeNetfilter()
	}
	return fmt.Errorf("%w: it has no probe", ErrAbsent)
}

// try asks for tables in a transaction that fails in any case, by deleting a table that is not there: when that is the first thing the
// kernel complains of, it has everything in the tables.
func (p *prober) try(tables []nft.Table) error {
	missing := nft.TableID{Family: nft.Inet, Name: scratchName() + " missing"}
	tx := nft.NewTx(tables...)
	for _, t := range tables {
		tx.AddTable(t)
	}
	tx.DeleteTable(missing)
	err := p.rules.Commit(context.Background(), tx)
	var refused *nft.Error
	switch {
	case err == nil:
		return errors.New("nf_tables deleted a table that is not there")
	case !errors.As(err, &refused):
		return err
	case refused.Table == missing && refused.Errno == unix.ENOENT:
		return nil
	}
	return absent(err)
}

// absent marks an error by which kernels say that they don't know what they were asked for.
func absent(err error) error {
	for _, errno := range []unix.Errno{unix.ENOENT, unix.EOPNOTSUPP, unix.EINVAL, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", ErrAbsent, err)
		}
	}
	return err
}

// ownerPersist is what the writer found out when it was dialled.
func (p *prober) ownerPersist() error {
	if p.noRules != nil {
		return p.noRules
	}
	if p.rules.Protection() != nft.ProtectionOwner {
		return fmt.Errorf("%w: tables can't be kept from other processes", ErrAbsent)
	}
	return nil
}

// link asks for a link without any transmit queue. A kernel that knows the kind answers EINVAL, before 5.0 ENOMEM (rtnl_create_link in
// net/core/rtnetlink.c); one that does not answers EOPNOTSUPP before it looks at the queues (rtnl_newlink).
func (p *prober) link(kind string) error {
	const name = "bridgedprobe"
	var b rtnl.Batch
	b.Begin(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
	b.Uint32(unix.IFLA_NUM_TX_QUEUES, 0)
	b.Nest(unix.IFLA_LINKINFO, func() { b.String(unix.IFLA_INFO_KIND, kind) })
	failed, err := p.links.Do(&b, nil)
	if err != nil {
		return err
	}
	if len(failed) == 0 {
		return fmt.Errorf("the kernel made a link without transmit queues: %s", name)
	}
	switch err := failed[0].Err; {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOMEM):
		return nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: %w", ErrAbsent, err)
	default:
		return err
	}
}

// conntrackNetlink asks for conntrack's counters, a few numbers: a kernel without answers EINVAL (nfnetlink_rcv_msg in
// net/netfilter/nfnetlink.c).
func conntrackNetlink() (err error) {
	const getStats = unix.NFNL_SUBSYS_CTNETLINK<<8 | 4 // IPCTNL_MSG_CT_GET_STATS_CPU
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return absent(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: getStats, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0},
	})
	return absent(err)
}

// AskIPv6 asks for [IPv6] alone, as an [Ask] does, in the calling thread's network namespace: for a socket, which a kernel
// without, and one that was started with ipv6.disable=1, refuses.
func AskIPv6() error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return absent(fmt.Errorf("cannot open an IPv6 socket (ipv6.disable=1?): %w", err))
	}
	unix.Close(fd)
	const disable = "net/ipv6/conf/all/disable_ipv6"
	switch v, err := sysctl.Get(disable); {
	case err != nil:
		return absent(err)
	case v != "0":
		return fmt.Errorf("%w: it is switched off by the sysctl %s = %s", ErrAbsent, disable, v)
	}
	return nil
}

// bridgeNetfilter looks for the module's sysctls: it has no other voice.
func bridgeNetfilter() error {
	switch _, err := sysctl.Get(bridgeNFCall4); {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: the module br_netfilter is not loaded", ErrAbsent)
	default:
		return err
	}
}
