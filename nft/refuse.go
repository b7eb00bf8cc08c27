package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Message is a request to nf_tables on its way to the kernel, as [Options.Refuse] sees it.
type Message struct {
	// Type is NFT_MSG_NEWTABLE or another of enum nf_tables_msg_types in linux/netfilter/nf_tables.h.
	Type   uint16
	Family Family
	// Attributes are in wire format, numbers in network byte order. They are good until Refuse returns.
	Attributes []byte
}

// refusing is a socket to a kernel with less: it answers itself what the kernel is to refuse.
type refusing struct {
	socket
	refuse  func(Message) unix.Errno
	answers [][]byte
}

// refusing puts Refuse between a socket and the kernel.
func (o Options) refusing(s socket) socket {
	if o.Refuse == nil {
		return s
	}
	return &refusing{socket: s, refuse: o.Refuse}
}

// send hands over what is not refused. Of a batch with a refused message nothing gets to the kernel, which would undo it.
func (s *refusing) send(datagram []byte) error {
	refused := false
	for b := datagram; len(b) >= headerLen; {
		size := min(len(b), int(binary.NativeEndian.Uint32(b)+3)&^3)
		if errno := s.verdict(b[:size]); errno != 0 {
			refused = true
			s.answers = append(s.answers, refusal(b, errno))
		}
		b = b[size:]
	}
	if refused {
		return nil
	}
	return s.socket.send(datagram)
}

// verdict is 0 for what may pass, as the marks at a batch's begin and end.
func (s *refusing) verdict(m []byte) unix.Errno {
	typ := binary.NativeEndian.Uint16(m[4:])
	if typ == batchBegin || typ == batchEnd {
		return 0
	}
	return s.refuse(Message{Type: typ &^ subsystem, Family: Family(m[unix.SizeofNlMsghdr]), Attributes: m[headerLen:]})
}

// refusal is the kernel's answer to a message that failed (netlink_ack in net/netlink/af_netlink.c, with NETLINK_CAP_ACK).
func refusal(m []byte, errno unix.Errno) []byte {
	const size = unix.SizeofNlMsghdr + unix.SizeofNlMsgerr
	b := binary.NativeEndian.AppendUint32(make([]byte, 0, size), size)
	b = binary.NativeEndian.AppendUint16(b, unix.NLMSG_ERROR)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_CAPPED)
	b = append(b, m[8:unix.SizeofNlMsghdr]...) // number and port
	b = binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
	return append(b, m[:unix.SizeofNlMsghdr]...)
}

// receive gives the refusals first.
func (s *refusing) receive(b []byte) (int, error) {
	if len(s.answers) == 0 {
		return s.socket.receive(b)
	}
	n := copy(b, s.answers[0])
	s.answers = s.answers[1:]
	return n, nil
}
