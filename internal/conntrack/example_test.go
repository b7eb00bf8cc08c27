package conntrack_test

import (
	"fmt"
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/conntrack"
)

func Example() {
	// Port 53/udp was just published on every IPv4 address, and 172.17.0.9 was given back.
	var p conntrack.Purger
	defer p.Close()
	_, err := p.Purge(
		[]conntrack.Flow{{Proto: uint8(bridged.UDP), HostIP: netip.IPv4Unspecified(), HostPort: 53}},
		[]netip.Addr{netip.MustParseAddr("172.17.0.9")},
	)
	if err != nil {
		fmt.Println(err)
	}
}
