package nft

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// knowledge is what an encoder knows of the packet's protocols where it stands in the rule. A field that needs a protocol asks for it
// if it is not known; what is implied in the fields need not, and must not, be said by matches of their own. The restrictions are
// where nft would move, join or rename what the rule says.
type knowledge struct {
	network, transport known
	ethertype          uint16 // when network is more than oneOf
	proto              uint8  // when transport is more than oneOf
	// header: a field of any transport protocol's header was read.
	header bool
	// arp: the packet may be one of ARP, in which nft knows of no transport protocol.
	arp bool
	// tagged: the ether type may be that of a VLAN tag, in which nft then looks for the fields of the Ethernet header.
	tagged bool
}

// known is how a protocol is known.
type known uint8

const (
	notKnown known = iota
	oneOf          // alternatives were asked for; nft takes it for one of them
	said           // by a match of the rule's own, which no field made use of
	asked          // because a field needs it
	shown          // the same, and nft lists the question
)

// need asks for the protocols that a field needs, unless the packet is known to have them.
func (e *encoder) need(f *fieldInfo) error {
	if f.family != 0 && f.family != e.table.ID.Family {
		return fmt.Errorf("%s: only in family %s", f.syntax, f.family)
	}
	if err := e.needNetwork(f); err != nil {
		return err
	}
	if f.transport == 0 {
		return e.needHeader(f)
	}
	return e.needTransport(f)
}

func (e *encoder) needTransport(f *fieldInfo) error {
	k := &e.known
	switch {
	case k.header:
		return fmt.Errorf("%s must stand before fields of any protocol's header", f.syntax)
	case k.arp:
		return fmt.Errorf("%s: ARP has no transport protocol, and the packet may be ARP", f.syntax)
	case k.transport == notKnown:
		k.transport, k.proto = asked, f.transport
		v := Byte(f.transport)
		e.emit(fieldL4Proto.info().into(register(0)))
		e.cmp(nil, expr.CmpOpEq, v.Bytes())
		return nil
	case k.transport <= oneOf || k.proto != f.transport:
		return fmt.Errorf("%s: the packet has another protocol", f.syntax)
	case k.transport == said:
		return fmt.Errorf("%s implies the protocol: leave the match on it out", f.syntax)
	}
	return nil
}

// needHeader refuses fields of a header that nft would take for another one's.
func (e *encoder) needHeader(f *fieldInfo) error {
	p, k := f.payload(), &e.known
	if p != nil && p.Base == expr.PayloadBaseLLHeader && k.tagged {
		return fmt.Errorf("%s must stand before the match on a VLAN tag", f.syntax)
	}
	if p == nil || p.Base != expr.PayloadBaseTransportHeader {
		return nil
	}
	k.header = true
	if k.transport > oneOf && (f.typ != TypeTarget || k.proto != unix.IPPROTO_ICMPV6) {
		return fmt.Errorf("%s: the protocol is known, nft would name its own field", f.syntax)
	}
	return nil
}

func (e *encoder) needNetwork(f *fieldInfo) error {
	k := &e.known
	switch {
	case f.network == 0:
		return nil
	case k.network == notKnown:
		return e.askNetwork(f)
	case k.network == oneOf || k.ethertype != f.network:
		return fmt.Errorf("%s: the packet is of another family", f.syntax)
	case k.network == said:
		return fmt.Errorf("%s implies the family: leave the match on it out", f.syntax)
	case k.network == shown && !f.shown:
		return fmt.Errorf("%s must stand before what nft lists with its family", f.syntax)
	}
	return nil
}

func (e *encoder) askNetwork(f *fieldInfo) error {
	if _, ok := f.load.(*expr.Exthdr); ok && len(e.out.exprs) > 0 {
		return fmt.Errorf("%s must be the first match: nft asks for the family at the rule's beginning", f.syntax)
	}
	e.known.network, e.known.ethertype, e.known.arp = asked, f.network, f.network == etherARP
	if f.shown {
		e.known.network = shown
	}
	v := Port(f.network)
	switch {
	case e.table.ID.Family == Inet:
		v = nfprotoOf(f.network)
		e.emit(fieldNFProto.info().into(register(0)))
	case f.byMeta:
		e.emit(&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: register(0)})
	default:
		ether := fieldEtherType.info()
		joined, err := e.join(ether, expr.CmpOpEq, &v)
		if err != nil || joined {
			return err
		}
		e.emit(ether.into(register(0)))
	}
	e.cmp(nil, expr.CmpOpEq, v.Bytes())
	return nil
}

// says notes what a match on the values says about the packet's protocols.
func (e *encoder) says(of field, values []Value) error {
	k := &e.known
	how := said
	if len(values) > 1 {
		how = oneOf
	}
	switch {
	case (of == fieldNFProto || of == fieldEtherType) && k.network == notKnown:
		k.network, k.ethertype = how, networkSaid(of, &values[0])
		k.arp = slices.Contains(values, Port(etherARP))
		k.tagged = slices.Contains(values, Port(unix.ETH_P_8021Q)) || slices.Contains(values, Port(unix.ETH_P_8021AD))
	case of == fieldL4Proto && k.transport == notKnown:
		k.transport, k.proto = how, values[0].Bytes()[0]
	case of == fieldNFProto, of == fieldEtherType, of == fieldL4Proto:
		return fmt.Errorf("%s: it is known already", of.info().syntax)
	}
	return nil
}

// networkSaid is the network protocol of packets whose field has the value; 0 when that says nothing about it.
func networkSaid(of field, v *Value) uint16 {
	switch {
	case of == fieldEtherType && v.Len() == 2:
		return binary.BigEndian.Uint16(v.Bytes())
	case of == fieldNFProto && *v == Byte(uint8(IPv4)):
		return etherIPv4
	case of == fieldNFProto && *v == Byte(uint8(IPv6)):
		return etherIPv6
	}
	return 0
}

// nfprotoOf is the family of a network protocol.
func nfprotoOf(network uint16) Value {
	if network == etherIPv6 {
		return Byte(uint8(IPv6))
	}
	return Byte(uint8(IPv4))
}
