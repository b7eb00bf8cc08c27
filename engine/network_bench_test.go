package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// BenchmarkCreateNetwork is a network beside none and beside a thousand others. The floor under it is what the kernel does of it: the same steps, of
// a network that the engine knows nothing of. Ours is the rest, with two files on a disk that are synced.
func BenchmarkCreateNetwork(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprintf("networks=%d", others), func(b *testing.B) {
			e := startReal(b, Config{
				RunDir: b.TempDir(), StateDir: b.TempDir(), BridgeName: "docker0", ICC: true, IPMasq: true, IPForward: true,
				IP: netip.IPv4Unspecified(), Protection: "auto", Log: slog.New(slog.DiscardHandler),
				Pools: []AddressPool{{Base: netip.MustParsePrefix("10.0.0.0/8"), Size: 24}},
			})
			ctx := context.Background()
			for i := range others {
				if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: fmt.Sprintf("other%d", i)}); err != nil {
					b.Fatal(err)
				}
			}
			make, unmake := bareNetwork(e)
			interleave(b,
				func() error { return make.doAll(ctx, e.host) },
				func() error { _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "n"}); return err },
				func() error { return errors.Join(unmake.doAll(ctx, e.host), e.RemoveNetwork(ctx, "n")) })
		})
	}
}

// bareNetwork is the plan that makes a network, and the one that takes it back.
func bareNetwork(e *Engine) (make, unmake Plan) {
	n := bridged.Network{
		ID: bridged.NewID(), Name: "floor", Driver: bridged.DriverBridge, Bridge: "bdfloor", BridgeMAC: bridged.MAC{2, 1}, MTU: 1500,
		ICC: true, Masquerade: true, SourceGuard: true,
		IPv4: bridged.Subnet{Prefix: netip.MustParsePrefix("192.168.77.0/24"), Gateway: netip.MustParseAddr("192.168.77.1")},
	}
	x, c := newIndex(), bridged.Change{Networks: map[string]*bridged.Network{n.ID: &n}}
	x.apply(c)
	with, without := compiler{x: x, program: e.program}.want(c, touched{}), newObjects()
	without.tables, without.elements = with.tables, nft.Elements{}
	return diff(without, with), diff(with, without)
}

func (p Plan) doAll(ctx context.Context, h host) error {
	for _, s := range p {
		if err := h.do(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
