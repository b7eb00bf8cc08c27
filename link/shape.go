package link

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/rtnl"
)

// Shaping limits what passes a pair. The zero Shaping limits nothing.
//
//	to the inner end:    host end ─ tbf ─► inner end
//	from the inner end:  inner end ─► host end ─ redirect ─► Shaper ─ tbf ─► on its way, as if it came from the host end
//
// A queue is at the way out of a link only, so what comes in is redirected to a link of kind ifb, and out of that.
type Shaping struct {
	// ToInner and FromInner are the two directions.
	ToInner, FromInner Rate
	// Shaper is the name of the ifb link, MAC its address; zero where FromInner is.
	Shaper string
	MAC    addr.MAC
}

// Rate is a token bucket filter. The zero Rate: no limit.
type Rate struct {
	// Bytes a second, and as many of them at once: Burst is at least a whole frame, or none would pass.
	Bytes uint64
	Burst uint32
}

// latency is how long a frame waits at most, before it is dropped.
const latency = 0.025 // seconds

// limit is how many bytes may wait.
func (r Rate) limit() uint32 {
	return uint32(min(float64(r.Bytes)*latency+float64(r.Burst), math.MaxUint32))
}

// String is as "to the inner end 1000000 B/s, from it 500000 B/s by bi0123456789ab".
func (s Shaping) String() string {
	text := fmt.Sprintf("to the inner end %d B/s", s.ToInner.Bytes)
	if s.Shaper != "" {
		text += fmt.Sprintf(", from it %d B/s by %s", s.FromInner.Bytes, s.Shaper)
	}
	return text
}

// Numbers of linux/pkt_sched.h, pkt_cls.h and tc_act/tc_mirred.h that x/sys does not have, and ours.
const (
	rootQdisc      = 0xffffffff // TC_H_ROOT
	ingressQdisc   = 0xfffffff1 // TC_H_INGRESS
	ingressHandle  = 0xffff0000
	tbfHandle      = 0x00010000
	linkEthernet   = 1 // TC_LINKLAYER_ETHERNET
	terminal       = 1 // TC_U32_TERMINAL
	stolen         = 4 // TC_ACT_STOLEN
	redirectOut    = 1 // TCA_EGRESS_REDIR
	filterPriority = 1
	shaperQueue    = 1000 // frames, as links of hardware have; the filter's limit is reached before
)

// kindShaper is the kind of link that what comes in is redirected to.
const kindShaper = "ifb"

// Shape sets what limits the host end's pair; what did before is replaced. unix.ENODEV: there is no such link. Where it fails, nothing of
// it is left, and nothing of what was there.
func (c *Conn) Shape(host string, mtu int, s Shaping) error {
	l, err := c.ByName(host)
	if err == nil {
		err = c.shape(l, mtu, s)
	}
	if err != nil {
		return fmt.Errorf("cannot limit the bandwidth of %s: %w", host, err)
	}
	return nil
}

func (c *Conn) shape(l Link, mtu int, s Shaping) (err error) {
	if err := c.unshape(l, s.Shaper); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.unshape(l, s.Shaper))
		}
	}()
	var b rtnl.Batch
	if s.ToInner != (Rate{}) {
		s.ToInner.append(&b, l.Index)
	}
	if s.FromInner == (Rate{}) {
		return c.do(&b)
	}
	if err := checkName(s.Shaper); err != nil {
		return err
	}
	shaper, err := c.createShaper(s, mtu)
	if err != nil {
		return err
	}
	s.FromInner.append(&b, shaper)
	appendQdisc(&b, unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, l.Index, ingressHandle, ingressQdisc)
	b.String(nl.TCA_KIND, "ingress")
	appendRedirect(&b, l.Index, shaper)
	return c.do(&b)
}

// unshape takes away what limits a link, if anything does.
func (c *Conn) unshape(l Link, shaper string) error {
	var b rtnl.Batch
	appendQdisc(&b, unix.RTM_DELQDISC, 0, l.Index, tbfHandle, rootQdisc)
	appendQdisc(&b, unix.RTM_DELQDISC, 0, l.Index, ingressHandle, ingressQdisc)
	failed, err := c.socket.Do(&b, nil)
	if err != nil {
		return err
	}
	for _, f := range failed {
		// There is none: ENOENT; there is the kernel's own or another: EINVAL.
		if !errors.Is(f.Err, unix.ENOENT) && !errors.Is(f.Err, unix.EINVAL) {
			return f.Err
		}
	}
	if shaper == "" {
		return nil
	}
	return c.Delete(shaper)
}

// createShaper creates an ifb link, up and without an IPv6 address of its own, and returns its index.
func (c *Conn) createShaper(s Shaping, mtu int) (int, error) {
	var b rtnl.Batch
	named := func(flags uint16, up uint32) {
		b.Begin(unix.RTM_NEWLINK, flags)
		b.Link(unix.AF_UNSPEC, 0, up, up)
		b.String(unix.IFLA_IFNAME, s.Shaper)
	}
	named(unix.NLM_F_CREATE|unix.NLM_F_EXCL, 0)
	b.Uint32(unix.IFLA_MTU, uint32(cmp.Or(mtu, defaultMTU)))
	b.Uint32(unix.IFLA_TXQLEN, shaperQueue)
	if s.MAC != (addr.MAC{}) {
		b.Bytes(unix.IFLA_ADDRESS, s.MAC[:])
	}
	b.Uint32(unix.IFLA_GROUP, Group)
	b.Nest(unix.IFLA_LINKINFO, func() { b.String(unix.IFLA_INFO_KIND, kindShaper) })
	named(0, 0)
	b.Nest(unix.IFLA_AF_SPEC, func() {
		b.Nest(unix.AF_INET6, func() { b.Uint8(unix.IFLA_INET6_ADDR_GEN_MODE, nl.IN6_ADDR_GEN_MODE_NONE) })
	})
	named(0, unix.IFF_UP)
	failed, err := c.socket.Do(&b, nil)
	for _, f := range failed {
		if err == nil && !errors.Is(f.Err, unix.EAFNOSUPPORT) { // no IPv6
			err = f.Err
		}
	}
	if err != nil {
		return 0, fmt.Errorf("link %s: %w", s.Shaper, err)
	}
	l, err := c.ByName(s.Shaper)
	return l.Index, err
}

// appendQdisc begins a message about a queueing discipline (struct tcmsg).
func appendQdisc(b *rtnl.Batch, kind, flags uint16, index int, handle, parent uint32) {
	b.Begin(kind, flags)
	b.Queue(index, handle, parent, 0)
}

// append adds the message that creates a token bucket filter at the way out of a link: struct tc_tbf_qopt and what it has no room for.
func (r Rate) append(b *rtnl.Batch, index int) {
	appendQdisc(b, unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, index, tbfHandle, rootQdisc)
	b.String(nl.TCA_KIND, "tbf")
	b.Nest(nl.TCA_OPTIONS, func() {
		parms := make([]byte, tbfParms)
		parms[1] = linkEthernet
		order.PutUint32(parms[8:], uint32(min(r.Bytes, math.MaxUint32)))
		order.PutUint32(parms[24:], r.limit())
		b.Bytes(nl.TCA_TBF_PARMS, parms)
		if r.Bytes > math.MaxUint32 {
			b.Bytes(nl.TCA_TBF_RATE64, order.AppendUint64(nil, r.Bytes))
		}
		b.Uint32(nl.TCA_TBF_BURST, r.Burst)
	})
}

// tbfParms is the size of struct tc_tbf_qopt: two of struct tc_ratespec, then limit, buffer and mtu. A rate stands behind 8 bytes.
const tbfParms = 2*12 + 3*4

// appendRedirect adds the message that sends every frame that comes in by a link out by the shaper: a u32 filter that matches all
// (struct tc_u32_sel with one key of zeros) with the action mirred (struct tc_mirred).
func appendRedirect(b *rtnl.Batch, index, shaper int) {
	b.Begin(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.Queue(index, 0, ingressHandle, filterPriority<<16|uint32(networkOrder(unix.ETH_P_ALL)))
	b.String(nl.TCA_KIND, "u32")
	b.Nest(nl.TCA_OPTIONS, func() {
		sel := make([]byte, 16+16)
		sel[0], sel[2] = terminal, 1
		b.Bytes(nl.TCA_U32_SEL, sel)
		b.Nest(nl.TCA_U32_ACT, func() {
			b.Nest(nl.TCA_ACT_TAB, func() {
				b.String(nl.TCA_ACT_KIND, "mirred")
				b.Nest(nl.TCA_ACT_OPTIONS, func() {
					mirred := make([]byte, 5*4+4+4)
					order.PutUint32(mirred[8:], stolen)
					order.PutUint32(mirred[20:], redirectOut)
					order.PutUint32(mirred[24:], uint32(shaper))
					b.Bytes(nl.TCA_MIRRED_PARMS, mirred)
				})
			})
		})
	})
}

// networkOrder is a number that the kernel reads in network byte order.
func networkOrder(n uint16) uint16 { return order.Uint16([]byte{byte(n >> 8), byte(n)}) }

// Shaped reports whether the pair is limited just so.
func (c *Conn) Shaped(host string, s Shaping) (bool, error) {
	l, err := c.ByName(host)
	if err != nil {
		return false, err
	}
	if same, err := c.limited(l.Index, s.ToInner); err != nil || !same {
		return false, err
	}
	if s.FromInner == (Rate{}) {
		return true, nil
	}
	shaper, err := c.ByName(s.Shaper)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if same, err := c.limited(shaper.Index, s.FromInner); err != nil || !same || !shaper.Up {
		return false, err
	}
	return c.redirected(l.Index, shaper.Index)
}

// limited says whether the way out of a link has the token bucket filter; the zero Rate: it need not have one.
func (c *Conn) limited(index int, r Rate) (same bool, err error) {
	if r == (Rate{}) {
		return true, nil
	}
	var b rtnl.Batch
	appendQdisc(&b, unix.RTM_GETQDISC, unix.NLM_F_ECHO, index, 0, rootQdisc) // without ECHO only subscribers are answered: qdisc_notify in net/sched/sch_api.c
	failed, err := c.socket.Do(&b, func(_ int, kind uint16, body []byte) {
		if kind == unix.RTM_NEWQDISC {
			same = decodeTBF(body) == tbf{r.Bytes, r.limit()}
		}
	})
	if err == nil && len(failed) > 0 && !errors.Is(failed[0].Err, unix.ENOENT) {
		err = failed[0].Err
	}
	return same, err
}

// tbf is what the kernel shows of a token bucket filter without rounding. The burst is in the limit.
type tbf struct {
	bytes uint64
	limit uint32
}

// decodeTBF reads the body of an RTM_NEWQDISC; zero for another kind.
func decodeTBF(body []byte) (t tbf) {
	if len(body) < sizeofTcMsg {
		return t
	}
	kind := ""
	for attr, v := range rtnl.Attributes(body[sizeofTcMsg:]) {
		switch attr {
		case nl.TCA_KIND:
			kind = rtnl.String(v)
		case nl.TCA_OPTIONS:
			if kind == "tbf" {
				t.decode(v)
			}
		}
	}
	return t
}

func (t *tbf) decode(options []byte) {
	for attr, v := range rtnl.Attributes(options) {
		switch {
		case attr == nl.TCA_TBF_PARMS && len(v) >= tbfParms:
			t.bytes, t.limit = uint64(order.Uint32(v[8:])), order.Uint32(v[24:])
		case attr == nl.TCA_TBF_RATE64 && len(v) >= 8:
			t.bytes = order.Uint64(v)
		}
	}
}

// sizeofTcMsg is the size of struct tcmsg (linux/rtnetlink.h).
const sizeofTcMsg = 20

// redirected says whether what comes in by a link goes out by the shaper.
func (c *Conn) redirected(index, shaper int) (found bool, err error) {
	var b rtnl.Batch
	b.Begin(unix.RTM_GETTFILTER, 0)
	b.Queue(index, 0, ingressHandle, 0)
	err = c.socket.Dump(&b, func() { found = false }, func(kind uint16, body []byte) {
		if kind == unix.RTM_NEWTFILTER && len(body) >= sizeofTcMsg && redirectsTo(body[sizeofTcMsg:]) == shaper {
			found = true
		}
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // there is no queue for what comes in
		err = nil
	}
	return found, err
}

// redirectsTo is the index of the link that a filter redirects to; 0: none.
func redirectsTo(attributes []byte) (index int) {
	path := []uint16{nl.TCA_OPTIONS, nl.TCA_U32_ACT, nl.TCA_ACT_TAB, nl.TCA_ACT_OPTIONS, nl.TCA_MIRRED_PARMS}
	for _, step := range path {
		var inner []byte
		for kind, v := range rtnl.Attributes(attributes) {
			if kind == step {
				inner = v
			}
		}
		attributes = inner
	}
	if len(attributes) < 28 || order.Uint32(attributes[20:]) != redirectOut {
		return 0
	}
	return int(order.Uint32(attributes[24:]))
}
