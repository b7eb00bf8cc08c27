package nft_test

import (
	"fmt"
	"net/netip"

	"github.com/bridged/bridged/nft"
	"golang.org/x/sys/unix"
)

// A program that publishes ports is loaded once; a port is an element.
func Example() {
	table := nft.Table{
		ID: nft.TableID{Family: nft.Inet, Name: "example"},
		Sets: []nft.Set{{
			Name: "publish", Key: []nft.Type{nft.TypeProto, nft.TypePort}, Data: []nft.Type{nft.TypeIPv4, nft.TypePort},
			Size: 1024, Counter: true,
		}},
		Chains: []nft.Chain{{
			Name:  "prerouting",
			Hook:  &nft.Hook{Type: nft.NATChain, Point: nft.Prerouting, Priority: nft.PriorityDstNAT},
			Rules: []nft.Rule{{nft.DNATTo(nft.IPv4, nft.Join(nft.L4Proto, nft.THDPort), "publish")}},
		}},
	}
	port := nft.Element{
		Set:  nft.SetID{Table: table.ID, Name: "publish"},
		Key:  nft.Concat(nft.Byte(unix.IPPROTO_TCP), nft.Port(8080)),
		Data: nft.Concat(nft.Addr(netip.MustParseAddr("172.17.0.2")), nft.Port(80)),
	}
	have := nft.Ruleset{Tables: []nft.Table{table}}
	want := nft.Ruleset{Tables: have.Tables, Elements: nft.Elements{port: {}}}

	// A Writer would commit this.
	fmt.Println(nft.Diff(have, want))
	fmt.Println(want)

	// And this is what would become of a packet.
	trace := want.Walk(nft.Inet, nft.Prerouting, nft.Packet{
		Src: netip.MustParseAddr("198.51.100.7"), Dst: netip.MustParseAddr("203.0.113.1"),
		Protocol: unix.IPPROTO_TCP, DPort: 8080,
	})
	fmt.Print(trace)
	fmt.Println("goes to", trace.Packet.Dst, trace.Packet.DPort)
	// Output:
	// add element inet example publish { tcp . 8080 : 172.17.0.2 . 80 }
	//
	// table inet example {
	// 	map publish {
	// 		type inet_proto . inet_service : ipv4_addr . inet_service
	// 		size 1024
	// 		counter
	// 		elements = { tcp . 8080 counter : 172.17.0.2 . 80 }
	// 	}
	//
	// 	chain prerouting {
	// 		type nat hook prerouting priority dstnat; policy accept;
	// 		dnat ip to meta l4proto . th dport map @publish
	// 	}
	// }
	//
	// inet example prerouting: dnat ip to meta l4proto . th dport map @publish
	// accept
	// goes to 172.17.0.2 80
}

// An expression, a set or a value on its own says little; a rule reads as in nft.
func ExampleRule() {
	rule := nft.Rule{
		nft.IIFName.In("bridges"), nft.IPDAddr.In("protected4"),
		nft.Counter, nft.Drop, nft.Comment("other network"),
	}
	fmt.Println(rule)
	// Output: iifname @bridges ip daddr @protected4 counter drop comment "other network"
}
