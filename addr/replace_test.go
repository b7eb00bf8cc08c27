package addr_test

import (
	"slices"
	"testing"

	"github.com/bridged/bridged/addr"
)

// A host route by way of a gateway comes and goes beside the subnet's own route; it is there once however often it is set, and
// takes the place of somebody else's.
func TestReplaceRoute(t *testing.T) {
	for _, tt := range []struct{ family, own, gateway, other, dst string }{
		{"-4", "10.0.0.2/24", "10.0.0.1", "10.0.0.9", "10.0.0.3/32"},
		{"-6", "fd00::2/64", "fd00::1", "fd00::9", "fd00::3/128"},
	} {
		t.Run(tt.family, func(t *testing.T) {
			const protocol = 98
			n := twoEnds(t)
			n.Run("ip addr add " + tt.own + " dev v1 nodad")
			c := dial(t, n)
			count := func(gateway string) int {
				return len(slices.DeleteFunc(ipRoutes(t, n, tt.family), func(r addr.Route) bool {
					return r.Dst != prefix(tt.dst) || r.Gateway != ip(gateway) || r.Protocol != protocol
				}))
			}
			n.Run("ip " + tt.family + " route add " + tt.dst + " via " + tt.other + " dev v1")
			r := addr.Route{Dst: prefix(tt.dst), Gateway: ip(tt.gateway), Link: index(n, "v1"), Protocol: protocol}
			for range 2 {
				check(t, c.ReplaceRoute(r))
				if count(tt.gateway) != 1 || count(tt.other) != 0 {
					t.Fatalf("the routes are %v", ipRoutes(t, n, tt.family))
				}
			}
			check(t, c.DeleteRoute(r))
			if count(tt.gateway) != 0 {
				t.Errorf("the route is left: %v", ipRoutes(t, n, tt.family))
			}
		})
	}
}
