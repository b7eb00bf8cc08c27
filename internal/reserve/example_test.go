package reserve_test

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/reserve"
)

func Example() {
	first, last, reserved, err := reserve.Ephemeral()
	if err != nil {
		fmt.Println(err)
		return
	}
	// From the end: the kernel begins elsewhere.
	for port := last; port >= first; port-- {
		if reserved(port) {
			continue
		}
		s, err := reserve.Bind(reserve.Port{Addr: netip.MustParseAddr("127.0.0.1"), Proto: uint8(bridged.TCP), Port: port})
		if err != nil {
			continue // in use
		}
		defer s.Close()
		_, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		fmt.Println("another process can have it:", err == nil)
		return
	}
	// Output: another process can have it: false
}
