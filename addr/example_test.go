package addr_test

import (
	"fmt"
	"net/netip"

	"github.com/bridged/bridged/addr"
)

// A sandbox's MAC follows from its address, and its IPv6 link-local address from its MAC.
func ExampleMACOf() {
	mac := addr.MACOf(netip.MustParseAddr("172.17.0.2"))
	fmt.Println(mac, addr.LinkLocal(mac))
	// Output: 02:42:ac:11:00:02 fe80::42:acff:fe11:2
}

// A bridge that has one address too many and lacks another.
func ExampleDiff() {
	on := func(prefix string) addr.Address {
		return addr.Address{Link: 3, Prefix: netip.MustParsePrefix(prefix), NoDAD: true}
	}
	have := []addr.Address{on("172.17.0.1/16"), on("172.18.0.1/16")}
	want := []addr.Address{on("172.17.0.1/16"), on("fd00::1/64")}
	del, add := addr.Diff(have, want)
	fmt.Println("delete", del)
	fmt.Println("add", add)
	// Output:
	// delete [172.18.0.1/16 on link 3]
	// add [fd00::1/64 on link 3]
}
