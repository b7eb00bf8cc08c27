// Package reserve holds host ports by bound sockets, so that no other process can have them.
package reserve

import "net/netip"

// Port is what is reserved.
type Port struct {
	// Addr 0.0.0.0 and :: are every address of their own family.
	Addr netip.Addr
	// Proto is the IP protocol number.
	Proto uint8
	// Port is never 0.
	Port uint16
}

// Socket holds a port until it is closed.
type Socket struct{}

// Bind reserves p in the network namespace of the calling thread. bridged.ErrConflict: something else has the port; the error
// names it where it can be found.
func Bind(p Port) (*Socket, error) { return &Socket{}, nil }

// Close gives the port back.
func (s *Socket) Close() error { return nil }

// Ephemeral is the range that ports are chosen from in the calling thread's network namespace, and which of it are reserved.
func Ephemeral() (first, last uint16, reserved func(uint16) bool, err error) { return }
