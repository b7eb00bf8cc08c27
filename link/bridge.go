package link

import (
	"fmt"

	"github.com/bridged/bridged/addr"
)

// Bridge is a bridge that is wanted.
type Bridge struct {
	// Name is at most 15 bytes.
	Name string
	// MAC is the bridge's own; it does not change when ports come and go. The zero MAC is refused.
	MAC addr.MAC
	// MTU in bytes; 0: the kernel's default.
	MTU int
}

// Equal reports whether the two are the same in every field.
func (b Bridge) Equal(o Bridge) bool { return b == o }

// String is as "bridge br0, MAC 02:42:ac:11:00:01, MTU 1500".
func (b Bridge) String() string { return fmt.Sprintf("bridge %s, MAC %v, MTU %d", b.Name, b.MAC, b.MTU) }
