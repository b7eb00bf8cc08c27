package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/mdlayher/netlink"
	route "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flow selects flows by where their first packet was sent, before DNAT.
type Flow struct {
	// Source is who sent it, before SNAT; the zero Addr: anybody. With a source, HostIP is one address of whatever host.
	Source netip.Addr
	// Proto is the IP protocol number.
	Proto uint8
	// HostIP is the original destination. 0.0.0.0 or ::: any address of the host, of that family; the zero Addr: of both. (Flows
	// through the host to the same port of another one, as those to a nameserver elsewhere, are none of ours.)
	HostIP netip.Addr
	// HostPort is the original destination port.
	HostPort uint16
	// Target is where DNAT sent it; the zero Addr: anywhere, also nowhere. It is not asked for in flows with a source.
	Target netip.Addr
}

// Of linux/netfilter/nfnetlink_conntrack.h.
const (
	getConntrack    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	deleteConntrack = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2
)

const (
	// bufferSize is the largest datagram of a dump (NLMSG_GOODSIZE and netlink_dump, net/netlink/af_netlink.c), in bytes.
	bufferSize = 32 << 10
	// deleteBatch is how many deletions are sent before their answers are read.
	deleteBatch = 64
	// answersSize is several times what the answers to a batch take in the socket's buffer, which were 832 bytes each (Linux 6.18). What does not fit
	// is lost, and net.core.rmem_default may be anything.
	answersSize = 256 << 10
)

// Purger deletes entries, by way of one socket that lasts: closing a socket of netfilter waits for a grace period of the kernel, some 20 ms,
// and who wants to change the packet filter meanwhile waits with it (nft_rcv_nl_event, net/netfilter/nf_tables_api.c). The zero Purger is
// ready to use, by several goroutines.
type Purger struct {
	mu   sync.Mutex
	conn *netlink.Conn // nil: to be opened
}

// Purge deletes the entries of the flows, and all from or to the addresses on either side of a translation, in the network namespace of
// the calling thread, which must always be the same one. It takes one dump of the table however many they are, and returns how many
// entries went. Entries in a conntrack zone belong to somebody else and stay. Without connection tracking in the kernel there is
// nothing to do, and no error.
//
// unix.ENOBUFS: the kernel had no room for its answers. Entries may be left, and some that went are not counted; the same call again does the rest.
func (p *Purger) Purge(flows []Flow, addrs []netip.Addr) (n int, err error) {
	if len(flows) == 0 && len(addrs) == 0 {
		return 0, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err = p.open(); err != nil {
		return 0, purgeError(err)
	}
	if p.conn == nil {
		return 0, nil
	}
	s := newSelector(flows, addrs)
	if s.needsLocal() {
		h, err := route.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return 0, purgeError(err)
		}
		defer h.Close()
		s.local = localLookup(h)
	}
	if n, err = purge(p.conn, s); err != nil {
		_ = p.close() // answers may be left in it; the next one begins anew
		return n, purgeError(err)
	}
	return n, nil
}

func purgeError(err error) error {
	return fmt.Errorf("cannot purge connection tracking entries: %w", err)
}

// Open opens the socket, in the network namespace of the calling thread. Purge does it where it was not done, or the socket failed.
func (p *Purger) Open() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open(); err != nil {
		return fmt.Errorf("cannot open a netfilter socket: %w", err)
	}
	return nil
}

// open leaves the socket closed where the kernel knows none of its kind.
func (p *Purger) open() (err error) {
	if p.conn != nil {
		return nil
	}
	p.conn, err = netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{MessageBufferSize: bufferSize})
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil
	}
	if err != nil {
		return err
	}
	p.conn.SetReadBuffer(answersSize) // a smaller one only means that a purge may have to be tried again
	return nil
}

// Close closes the socket, if there is one.
func (p *Purger) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.close()
}

func (p *Purger) close() error {
	if p.conn == nil {
		return nil
	}
	c := p.conn
	p.conn = nil
	return c.Close()
}

func purge(c *netlink.Conn, s *selector) (int, error) {
	doomed, err := dump(c, s)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return 0, nil // nfnetlink knows no subsystem of that number
	}
	if err != nil {
		return 0, err
	}
	n := 0
	var errs []error
	for len(doomed) > 0 {
		batch := doomed[:min(len(doomed), deleteBatch)]
		doomed = doomed[len(batch):]
		deleted, err := remove(c, batch)
		n += deleted
		if err != nil {
			errs = append(errs, err)
		}
		if errors.Is(err, unix.ENOBUFS) {
			break // the answers to the next ones could not be told from what is left of these
		}
	}
	return n, errors.Join(errs...)
}

// dump returns the deletion messages of the entries that are selected. Entries are read as they come, so that a large table does
// not have to fit into memory. Nor into the socket's buffer: the kernel goes on with a dump when what it had is read (netlink_recvmsg,
// net/netlink/af_netlink.c), and one that it has no memory for ends with an error.
func dump(c *netlink.Conn, s *selector) ([]netlink.Message, error) {
	_, err := c.Send(netlink.Message{
		Header: netlink.Header{Type: getConntrack, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		return nil, err
	}
	var doomed []netlink.Message
	for m, err := range c.ReceiveIter() {
		if err != nil {
			return nil, err
		}
		e, ok := parseEntry(m.Data)
		if !ok || !s.selects(&e) {
			continue
		}
		doomed = append(doomed, netlink.Message{
			Header: netlink.Header{Type: deleteConntrack, Flags: netlink.Request | netlink.Acknowledge},
			Data:   e.deletion(),
		})
	}
	return doomed, nil
}

// remove deletes entries and returns how many of them were still there. The kernel has answered when they are sent (netlink_unicast_kernel,
// net/netlink/af_netlink.c), however busy it is: so an answer that is not there won't come, and needs no deadline. That answers were lost it says
// before all others, and once however many they were (netlink_overrun, same file).
func remove(c *netlink.Conn, batch []netlink.Message) (n int, err error) {
	if _, err := c.SendMessages(batch); err != nil {
		return 0, err
	}
	var errs []error
	for range batch { // each is answered in a datagram of its own
		switch _, err := c.Receive(); {
		case err == nil:
			n++
		case errors.Is(err, unix.ENOBUFS):
			return n, errors.Join(append(errs, err)...)
		case !errors.Is(err, unix.ENOENT): // which is one that timed out in the meantime
			errs = append(errs, err)
		}
	}
	return n, errors.Join(errs...)
}
