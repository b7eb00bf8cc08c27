package link

import (
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
	MTU  int
	// Master is the index of the bridge (or other link) that this one is a port of; 0: none.
	Master int
	// Up: it is administratively up. Running: it has a carrier, too.
	Up, Running bool
	Group       uint32
	// PeerIndex is the index of a veth's other end, in that one's namespace; 0: none.
	PeerIndex int
	// PeerNetNS is the id of the other end's namespace as seen from here (unique per namespace, given by the kernel); −1: it is in
	// this one, or there is none.
	PeerNetNS int

	// Hairpin, Isolated, Forwarding (the port's state) are of a bridge's port.
	Hairpin, Isolated, Forwarding bool
	// LinkLocalLearn is of a bridge: does it learn from link-local control frames?
	LinkLocalLearn bool
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

// Group is the link group of all links made by this package: "ip link show group 1651663719" lists them.
const Group uint32 = 0x62726467 // "brdg"

// dying is the group of links of ours that are being deleted.
const dying = Group + 1
