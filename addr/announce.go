package addr

import (
	"errors"
	"net/netip"
)

// Announcement tells the neighbours on a link that the addresses have this MAC.
type Announcement struct {
	// Link is the index of the link to send on.
	Link int
	// MAC is the addresses' owner and the frames' source.
	MAC MAC
	// Addrs are the addresses, of both families.
	Addrs []netip.Addr
}

// Announce sends, on a link of the calling thread's network namespace.
func Announce(a Announcement) error { return errors.ErrUnsupported }
