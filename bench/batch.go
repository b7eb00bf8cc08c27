package main

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/nft"
)

// attributeMost keeps an attribute below 64 KiB: one that is not as long yet gets another element, as in package nft.
const attributeMost = 60_000

// elementBatch is a transaction of nf_tables on the wire: a message begins it, one ends it, and the last between them is acknowledged.
// Elements of a set that stand side by side share messages. It is what package nft writes for the same elements, but for the messages' numbers.
func elementBatch(elements []nft.Element, add bool) ([]byte, error) {
	kind, flags := uint16(unix.NFT_MSG_DELSETELEM), netlink.HeaderFlags(0)
	if add {
		kind, flags = unix.NFT_MSG_NEWSETELEM, netlink.Create|netlink.Excl
	}
	b := appendMessage(nil, unix.NFNL_MSG_BATCH_BEGIN, netlink.Request, 0, unix.NFNL_SUBSYS_NFTABLES, nil)
	for len(elements) > 0 {
		n := 0
		for length := unix.SizeofNlAttr; n < len(elements) && elements[n].Set == elements[0].Set && length < attributeMost; n++ {
			length += elementLength(elements[n], add)
		}
		body, err := elementAttributes(elements[:n], add)
		if err != nil {
			return nil, err
		}
		if n == len(elements) {
			flags |= netlink.Acknowledge
		}
		b = appendMessage(b, unix.NFNL_SUBSYS_NFTABLES<<8|kind, netlink.Request|flags, elements[0].Set.Table.Family, 0, body)
		elements = elements[n:]
	}
	return appendMessage(b, unix.NFNL_MSG_BATCH_END, netlink.Request, 0, unix.NFNL_SUBSYS_NFTABLES, nil), nil
}

// elementLength is that of an element's attribute.
func elementLength(e nft.Element, add bool) int {
	const padding = unix.NLA_ALIGNTO - 1
	length := 3*unix.SizeofNlAttr + (e.Key.Len()+padding)&^padding
	if add && e.Data.Len() > 0 {
		length += 2*unix.SizeofNlAttr + (e.Data.Len()+padding)&^padding
	}
	return length
}

// elementAttributes are those of a message about elements of one set. What is deleted is told by its key.
func elementAttributes(elements []nft.Element, add bool) ([]byte, error) {
	a := netlink.NewAttributeEncoder()
	a.String(unix.NFTA_SET_ELEM_LIST_TABLE, elements[0].Set.Table.Name)
	a.String(unix.NFTA_SET_ELEM_LIST_SET, elements[0].Set.Name)
	a.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
		for _, e := range elements {
			list.Nested(unix.NFTA_LIST_ELEM, func(a *netlink.AttributeEncoder) error {
				a.Nested(unix.NFTA_SET_ELEM_KEY, value(e.Key))
				if add && e.Data.Len() > 0 {
					a.Nested(unix.NFTA_SET_ELEM_DATA, value(e.Data))
				}
				return nil
			})
		}
		return nil
	})
	return a.Encode()
}

func value(v nft.Value) func(*netlink.AttributeEncoder) error {
	return func(a *netlink.AttributeEncoder) error {
		a.Bytes(unix.NFTA_DATA_VALUE, v.Bytes())
		return nil
	}
}

// appendMessage adds struct nlmsghdr, struct nfgenmsg and the body, which is padded already.
func appendMessage(b []byte, kind uint16, flags netlink.HeaderFlags, family nft.Family, resource uint16, body []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+4+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, uint16(flags))
	b = append(b, make([]byte, 8)...) // no sequence number, no port
	b = append(b, byte(family), unix.NFNETLINK_V0)
	b = binary.BigEndian.AppendUint16(b, resource)
	return append(b, body...)
}
