package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/bench/report"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// rawPeer is the floor: what is left when nothing but the system calls is done.
func rawPeer() peer {
	return peer{
		name: report.Raw, what: "messages built beforehand, a lasting socket, write(2) and read(2): the same map with the same elements", find: known,
		publish: func(_ *setting, name string) (publisher, error) { return newRaw(name) },
	}
}

// rawPublisher writes prebuilt batches to a socket, in a world that package nft has furnished.
type rawPublisher struct {
	*nftPublisher
	fd     int
	answer [8192]byte
}

func newRaw(name string) (_ *rawPublisher, err error) {
	furnished, err := newNFT(name, "monitor") // the tables of a lasting owner could not be written from another socket
	if err != nil {
		return nil, err
	}
	p := &rawPublisher{nftPublisher: furnished, fd: -1}
	if err := p.w.host.do(p.dial); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open a netfilter socket: %w", err), p.close())
	}
	return p, nil
}

func (p *rawPublisher) dial() (err error) {
	if p.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
		return err
	}
	return errors.Join(
		unix.Bind(p.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(p.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 64<<20))
}

func (p *rawPublisher) publish(ports []uint16) op {
	return p.prepared(ports, unix.NFT_MSG_NEWSETELEM, netlink.Create|netlink.Excl)
}

func (p *rawPublisher) unpublish(ports []uint16) op {
	return p.prepared(ports, unix.NFT_MSG_DELSETELEM, 0)
}

// elementsInMessage keeps an attribute below 64 KiB.
const elementsInMessage = 1000

// prepared builds a batch: a message begins it, one ends it, and the last between them is acknowledged.
func (p *rawPublisher) prepared(ports []uint16, kind uint16, flags netlink.HeaderFlags) op {
	b := appendMessage(nil, unix.NFNL_MSG_BATCH_BEGIN, netlink.Request, unix.NFNL_SUBSYS_NFTABLES, nil)
	for chunk := range slices.Chunk(ports, elementsInMessage) {
		body, err := p.elements(chunk)
		if err != nil {
			return func() error { return err }
		}
		if &chunk[len(chunk)-1] == &ports[len(ports)-1] {
			flags |= netlink.Acknowledge
		}
		b = appendMessage(b, unix.NFNL_SUBSYS_NFTABLES<<8|kind, netlink.Request|flags, 0, body)
	}
	b = appendMessage(b, unix.NFNL_MSG_BATCH_END, netlink.Request, unix.NFNL_SUBSYS_NFTABLES, nil)
	return func() error { return p.send(b) }
}

// send is what the floor costs.
func (p *rawPublisher) send(batch []byte) error {
	if _, err := unix.Write(p.fd, batch); err != nil {
		return err
	}
	n, err := unix.Read(p.fd, p.answer[:])
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(p.answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("the kernel answers %x", p.answer[:n])
	}
	if errno := -int32(binary.NativeEndian.Uint32(p.answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// elements are the attributes of a message.
func (p *rawPublisher) elements(ports []uint16) ([]byte, error) {
	a := netlink.NewAttributeEncoder()
	a.String(unix.NFTA_SET_ELEM_LIST_TABLE, nat.Inet.Name)
	a.String(unix.NFTA_SET_ELEM_LIST_SET, p.published(0).Set.Name)
	a.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
		for _, port := range ports {
			e := p.published(port)
			list.Nested(unix.NFTA_LIST_ELEM, func(a *netlink.AttributeEncoder) error {
				a.Nested(unix.NFTA_SET_ELEM_KEY, value(e.Key))
				a.Nested(unix.NFTA_SET_ELEM_DATA, value(e.Data))
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
func appendMessage(b []byte, kind uint16, flags netlink.HeaderFlags, resource uint16, body []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+4+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, uint16(flags))
	b = append(b, make([]byte, 8)...) // no sequence number, no port
	b = append(b, byte(nat.Inet.Family), unix.NFNETLINK_V0)
	b = binary.BigEndian.AppendUint16(b, resource)
	return append(b, body...)
}

func (p *rawPublisher) close() error {
	var err error
	if p.fd >= 0 {
		err = unix.Close(p.fd)
	}
	return errors.Join(err, p.nftPublisher.close())
}
