package forwarding_test

import (
	"fmt"
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/nft"
)

// An endpoint's elements say what its port may claim to be, and whom it may address.
func ExampleEndpoint() {
	network := bridged.Network{
		Bridge: "br0", BridgeMAC: bridged.MAC{0x02, 0x42, 0, 0, 0, 1}, SourceGuard: true,
		IPv4: bridged.Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1")},
	}
	endpoint := bridged.Endpoint{
		HostInterface: "bv0000000000a1", MAC: bridged.MAC{0x02, 0x42, 0x0a, 0, 0, 0x02}, IPv4: netip.MustParsePrefix("10.0.0.2/24"),
	}
	for _, e := range forwarding.Endpoint(network, endpoint, nil) {
		for _, set := range forwarding.BridgeTable().Sets {
			if set.Name == e.Set.Name {
				fmt.Printf("add element %s { %s }\n", e.Set, nft.ElementText(&set, e))
			}
		}
	}
	// Output:
	// add element bridge bridged gateways { "bv0000000000a1" . 02:42:00:00:00:01 }
	// add element bridge bridged macs { "bv0000000000a1" . 02:42:0a:00:00:02 }
	// add element bridge bridged source4 { "bv0000000000a1" . 02:42:0a:00:00:02 . 10.0.0.2 }
}
