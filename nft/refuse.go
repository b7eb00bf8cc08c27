package nft

import (
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/fault"
)

// Message is a request to nf_tables on its way to the kernel, as [Options.Refuse] sees it.
type Message struct {
	// Type is NFT_MSG_NEWTABLE or another of enum nf_tables_msg_types in linux/netfilter/nf_tables.h.
	Type   uint16
	Family Family
	// Attributes are in wire format, numbers in network byte order. They are good until Refuse returns.
	Attributes []byte
}

// faulty is a socket with a layer that refuses, loses and breaks.
type faulty struct {
	socket
	layer *fault.Layer
}

// below puts what the options ask for between a socket and the kernel.
func (o Options) below(s socket) socket {
	if o.Refuse == nil && o.Fault == nil {
		return s
	}
	return &faulty{s, fault.New(unix.NETLINK_NETFILTER, o.inject, fault.Socket{Send: s.send, Receive: s.receive, Close: s.close})}
}

// inject is Refuse and then Fault. The marks at a batch's begin and end may pass Refuse.
func (o Options) inject(d fault.Datagram) (f fault.Fault) {
	for i, m := range d.Messages {
		if o.Refuse == nil || m.Kind == batchBegin || m.Kind == batchEnd {
			continue
		}
		const header = headerLen - unix.SizeofNlMsghdr
		if errno := o.Refuse(Message{Type: m.Kind &^ subsystem, Family: Family(m.Body[0]), Attributes: m.Body[header:]}); errno != 0 {
			f.Refusals = append(f.Refusals, fault.Refusal{Message: i, Errno: errno})
		}
	}
	if len(f.Refusals) > 0 || o.Fault == nil {
		return f
	}
	return o.Fault(d)
}

func (s *faulty) send(datagram []byte) error    { return s.layer.Send(datagram) }
func (s *faulty) receive(b []byte) (int, error) { return s.layer.Receive(b) }
func (s *faulty) close() error                  { return s.layer.Close() }
