package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// What the kernel's packet filter holds is read here, with nothing of package nft or of a peer's library: one dump, decoded by hand.

// mapTranslations reads a map of nf_tables whose keys are (protocol, port) and whose values are (address, port), each field padded to four
// bytes.
func (s *space) mapTranslations(family uint8, table, set string) (translations, error) {
	t := make(translations)
	err := s.dump(family, unix.NFT_MSG_GETSETELEM, func(a *netlink.AttributeEncoder) {
		a.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		a.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, func(a *netlink.AttributeDecoder) error {
		if a.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return nil
		}
		return each(a.Bytes(), func(element *netlink.AttributeDecoder) error {
			var key, data []byte
			err := each(element.Bytes(), func(a *netlink.AttributeDecoder) error {
				switch a.Type() {
				case unix.NFTA_SET_ELEM_KEY:
					key = dataValue(a.Bytes())
				case unix.NFTA_SET_ELEM_DATA:
					data = dataValue(a.Bytes())
				}
				return nil
			})
			if err != nil || len(key) < 8 || len(data) < 6 {
				return fmt.Errorf("map %s has the element %x : %x: %w", set, key, data, err)
			}
			t[bridged.ProtoPort{Proto: bridged.Proto(key[0]), Port: binary.BigEndian.Uint16(key[4:])}] = leadsTo(data, data[4:])
			return nil
		})
	})
	return t, err
}

// ruleTranslations reads a chain of rules that compare a protocol and a port and load an address and a port.
func (s *space) ruleTranslations(family uint8, table, chain string) (translations, error) {
	t := make(translations)
	err := s.dump(family, unix.NFT_MSG_GETRULE, func(a *netlink.AttributeEncoder) {
		a.String(unix.NFTA_RULE_TABLE, table)
		a.String(unix.NFTA_RULE_CHAIN, chain)
	}, func(a *netlink.AttributeDecoder) error {
		if a.Type() != unix.NFTA_RULE_EXPRESSIONS {
			return nil
		}
		var proto, port, address, to []byte
		err := each(a.Bytes(), func(expression *netlink.AttributeDecoder) error {
			name, v, err := loaded(expression.Bytes())
			switch {
			case name == "cmp" && len(v) == 1:
				proto = v
			case name == "cmp" && len(v) == 2:
				port = v
			case name == "immediate" && len(v) == 4:
				address = v
			case name == "immediate" && len(v) == 2:
				to = v
			}
			return err
		})
		if err != nil || len(proto)+len(port)+len(address)+len(to) != 9 {
			return fmt.Errorf("chain %s has a rule for protocol %x, port %x, address %x, port %x: %w", chain, proto, port, address, to, err)
		}
		t[bridged.ProtoPort{Proto: bridged.Proto(proto[0]), Port: binary.BigEndian.Uint16(port)}] = leadsTo(address, to)
		return nil
	})
	return t, err
}

// loaded is an expression's name, and the value that it compares with or loads: nil when it has none.
func loaded(b []byte) (name string, v []byte, err error) {
	err = each(b, func(a *netlink.AttributeDecoder) error {
		switch a.Type() {
		case unix.NFTA_EXPR_NAME:
			name = a.String()
		case unix.NFTA_EXPR_DATA:
			data := a.Bytes()
			return each(data, func(a *netlink.AttributeDecoder) error {
				if name == "cmp" && a.Type() == unix.NFTA_CMP_DATA || name == "immediate" && a.Type() == unix.NFTA_IMMEDIATE_DATA {
					v = dataValue(a.Bytes())
				}
				return nil
			})
		}
		return nil
	})
	return name, v, err
}

func leadsTo(address, port []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(address)), binary.BigEndian.Uint16(port))
}

// dataValue is what NFTA_DATA_VALUE says; nil when there is none.
func dataValue(b []byte) (v []byte) {
	_ = each(b, func(a *netlink.AttributeDecoder) error { // what is malformed has no value
		if a.Type() == unix.NFTA_DATA_VALUE {
			v = a.Bytes()
		}
		return nil
	})
	return v
}

// each calls f for each attribute.
func each(b []byte, f func(*netlink.AttributeDecoder) error) error {
	a, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for a.Next() {
		if err := f(a); err != nil {
			return err
		}
	}
	return a.Err()
}

// dump asks nf_tables for a list and calls f for each attribute of each message.
func (s *space) dump(family uint8, kind uint16, ask func(*netlink.AttributeEncoder), f func(*netlink.AttributeDecoder) error) error {
	a := netlink.NewAttributeEncoder()
	ask(a)
	attributes, err := a.Encode()
	if err != nil {
		return err
	}
	var answers []netlink.Message
	err = s.do(func() error {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		answers, err = c.Execute(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | netlink.Dump},
			Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attributes...),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot list what nf_tables holds: %w", err)
	}
	for _, m := range answers {
		if len(m.Data) < 4 {
			continue
		}
		if err := each(m.Data[4:], f); err != nil {
			return err
		}
	}
	return nil
}

// setRequest is the body of a request for the elements of a set.
func setRequest(table nft.TableID, set string) ([]byte, error) {
	a := netlink.NewAttributeEncoder()
	a.String(unix.NFTA_SET_ELEM_LIST_TABLE, table.Name)
	a.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	attributes, err := a.Encode()
	return append([]byte{byte(table.Family), unix.NFNETLINK_V0, 0, 0}, attributes...), err
}

// dumpRaw makes one dump in the calling thread's network namespace and reads it to its end.
func dumpRaw(protocol int, kind uint16, body, buffer []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	request = binary.NativeEndian.AppendUint16(request, kind)
	request = binary.NativeEndian.AppendUint16(request, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request = append(append(request, make([]byte, 8)...), body...)
	if _, err := unix.Write(fd, request); err != nil {
		return err
	}
	for {
		n, err := unix.Read(fd, buffer)
		if err != nil {
			return err
		}
		for m := buffer[:n]; len(m) >= unix.SizeofNlMsghdr; {
			switch binary.NativeEndian.Uint16(m[4:]) {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return unix.Errno(-int32(binary.NativeEndian.Uint32(m[unix.SizeofNlMsghdr:])))
			}
			size := max(int(binary.NativeEndian.Uint32(m)), unix.SizeofNlMsghdr)
			m = m[min(len(m), (size+3)&^3):]
		}
	}
}
