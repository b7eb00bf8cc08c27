package link

import (
	"fmt"

	"github.com/bridged/bridged/addr"
)

// Pair is a veth pair that is wanted: the host end a port of a bridge, the inner end in another network namespace.
type Pair struct {
	// Host and Inner are the names of the ends, Bridge that of the bridge: at most 15 bytes each.
	Host, Inner, Bridge string
	// MAC is the inner end's.
	MAC addr.MAC
	// HostMAC is the host end's. The zero MAC: that of the inner end with fe as first byte, higher than any bridge's.
	HostMAC addr.MAC
	// MTU of both ends, in bytes; 0: the kernel's default.
	MTU int
	// Isolated: the port reaches the bridge itself and ports that are not isolated, not other isolated ones.
	Isolated bool
}

// Equal reports whether the two are the same in every field.
func (p Pair) Equal(o Pair) bool { return p == o }

// String is as "pair bv0123456789ab–eth0 on bridge br0".
func (p Pair) String() string { return fmt.Sprintf("pair %s–%s on bridge %s", p.Host, p.Inner, p.Bridge) }
