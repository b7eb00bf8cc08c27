package engine

import (
	"net/netip"
	"testing"

	"github.com/bridged/bridged"
)

// BenchmarkClaim is a host port of a range whose first 20 another program has, claimed and given back. Who that is takes a look at all files that all
// processes have open, and nobody is told.
func BenchmarkClaim(b *testing.B) {
	const taken = 20
	host := giveNamespace(b)
	e := benchEngineIn(b, host, 0)
	occupy(b, host, firstPassing, taken)
	o, err := e.index.publishable(e.Sandboxes()[0].Sandbox)
	if err != nil {
		b.Fatal(err)
	}
	spec := bridged.PortSpec{
		HostIP: netip.IPv4Unspecified(), HostPort: bridged.PortRange{First: firstPassing, Last: firstPassing + taken}, ContainerPort: 80, Proto: bridged.TCP,
	}
	for b.Loop() {
		bindings, _, err := e.claimPort(b.Context(), o, spec, nil)
		if err != nil {
			b.Fatal(err)
		}
		e.book.free(bindings)
	}
}
