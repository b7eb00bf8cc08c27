package link_test

import (
	"fmt"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/link"
)

// Values say what is wanted; a Conn makes it so.
func Example() {
	bridge := link.Bridge{Name: "br0", MAC: addr.MAC{0x02, 0x42, 0xac, 0x11, 0x00, 0x01}, MTU: 1500}
	pair := link.Pair{Host: "bv0123456789ab", Inner: "eth0", Bridge: bridge.Name, MTU: bridge.MTU}
	fmt.Println(bridge)
	fmt.Println(pair)

	observed := link.Link{Index: 4, Name: "br0", Kind: "bridge", Group: link.Group, MAC: bridge.MAC, MTU: 1500}
	fmt.Println(observed, observed.Ours())
	// Output:
	// bridge br0, MAC 02:42:ac:11:00:01, MTU 1500
	// pair bv0123456789ab–eth0 on bridge br0
	// bridge br0 (4) true
}
