package ipam_test

import (
	"fmt"
	"net/netip"

	"github.com/bridged/bridged/ipam"
)

func Example() {
	taken := []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")} // a route of the host
	subnet, err := ipam.Choose(ipam.DefaultBlocks(), taken)
	if err != nil {
		fmt.Println(err)
		return
	}
	config := ipam.Config{Prefix: subnet}
	config.Gateway = ipam.DefaultGateway(config)
	pool, err := ipam.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(subnet, "via", config.Gateway)

	a, _ := pool.Take()
	b, _ := pool.Take()
	pool.Release(a)
	c, _ := pool.Take() // not a again: whoever still talks to a finds nobody
	fmt.Println(a, b, c)
	fmt.Println(pool.Claim(b))
	fmt.Println(pool.Claim(config.Gateway))
	// Output:
	// 172.18.0.0/16 via 172.18.0.1
	// 172.18.0.2 172.18.0.3 172.18.0.4
	// address 172.18.0.3 is already in use
	// address 172.18.0.1 is the gateway's
}
