package link

import (
	"encoding/binary"
	"fmt"

	"github.com/bridged/bridged/addr"
)

// Link is an interface as the kernel shows it.
type Link struct {
	Index int
	Name  string
	// Kind is the kernel's word for a virtual link, as "bridge" or "veth"; empty for hardware and the loopback.
	Kind string
	MAC  addr.MAC
	// MTU in bytes.
	MTU int
	// Master is the index of the bridge (or other link) that this one is a port of; 0: none.
	Master int
	// Up: it is switched on. Running: it has a carrier, too.
	Up, Running bool
	// Promisc: it was told to take every frame that it sees.
	Promisc bool
	Group   uint32
	// Alias is a text that "ip link" shows with the link; empty: none.
	Alias string
	// PeerIndex is the index of a veth's other end, in that one's namespace; 0: none.
	PeerIndex int
	// PeerNetNS is the kernel's id for the other end's namespace, as seen from this one; −1: the other end is in this one, or
	// there is none.
	PeerNetNS int

	// Hairpin (may a frame leave by the port it came in by?), Isolated and Forwarding (is the port ready to carry frames?) are of
	// a bridge's port.
	Hairpin, Isolated, Forwarding bool
	// NoLinkLocalLearn is of a bridge: it learns no MAC from link-local control frames.
	NoLinkLocalLearn bool
}

// Ours reports whether the link was made by this package.
func (l Link) Ours() bool { return l.Group == Group || l.Group == dying }

// String is as "bridge br0 (3)".
func (l Link) String() string {
	kind := l.Kind
	if kind == "" {
		kind = "link"
	}
	return fmt.Sprintf("%s %s (%d)", kind, l.Name, l.Index)
}

// Group is the link group of all links made by this package (of pairs, the host end): "ip link show group 1651663975" lists
// them.
const Group uint32 = 0x62726467 // "brdg"

// dying is the group of links of ours that are being deleted.
const dying = Group + 1

// The kinds of link that this package makes.
const (
	kindBridge = "bridge"
	kindVeth   = "veth"
)

// order is the byte order of netlink: the machine's.
var order = binary.NativeEndian
