package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/bench/report"
	"github.com/bridged/bridged/nft"
)

// rawPeer is the floor: what is left when nothing but the system calls is done.
func rawPeer() peer {
	return peer{
		name: report.Raw, what: "messages built beforehand, a lasting socket, write(2) and read(2): the same map with the same elements", find: known,
		publish: func(_ *setting, name string) (publisher, error) { return newRaw(name) },
		attach:  func(_ *setting, name string) (attacher, error) { return newRawAttacher(name) },
	}
}

// rawPublisher writes prebuilt batches to a socket, in a world that package nft has furnished.
type rawPublisher struct {
	*nftPublisher
	fd     int
	answer [8192]byte
}

func newRaw(name string) (_ *rawPublisher, err error) {
	furnished, err := newNFT(name, nft.Options{Protection: nft.ProtectionMonitor}) // the tables of a lasting owner could not be written from another socket
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

func (p *rawPublisher) publish(ports []uint16) op   { return p.prepared(p.elements(ports), true) }
func (p *rawPublisher) unpublish(ports []uint16) op { return p.prepared(p.elements(ports), false) }

func (p *rawPublisher) elements(ports []uint16) []nft.Element {
	elements := make([]nft.Element, len(ports))
	for i, port := range ports {
		elements[i] = p.published(port)
	}
	return elements
}

// prepared builds the batch that adds or deletes elements, those of a set side by side.
func (p *rawPublisher) prepared(elements []nft.Element, add bool) op {
	b, err := elementBatch(elements, add)
	return func() error {
		if err != nil {
			return err
		}
		return p.send(b)
	}
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

// callers wait for one another: the floor has one buffer.
func (p *rawPublisher) callers(n int) ([]caller, error) { return inLine(p, n), nil }

func (p *rawPublisher) close() error {
	var err error
	if p.fd >= 0 {
		err = unix.Close(p.fd)
	}
	return errors.Join(err, p.nftPublisher.close())
}
