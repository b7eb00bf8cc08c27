package addr

import (
	"net/netip"
	"testing"

	"github.com/bridged/bridged/internal/rtnl"
)

// What is encoded is decoded to the same value.
func TestRoundTrip(t *testing.T) {
	for _, a := range []Address{
		{Link: 3, Prefix: netip.MustParsePrefix("10.0.0.1/24")},
		{Link: 70000, Prefix: netip.MustParsePrefix("fd00::1/64"), NoDAD: true},
	} {
		if got, ok := decodeAddress(body(func(b *rtnl.Batch) { a.Append(b) })); !ok || got != a {
			t.Errorf("%+v becomes %+v, %v", a, got, ok)
		}
	}
	for _, r := range []Route{
		{Dst: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1"), Link: 3, Table: 70000, Type: 1, Protocol: 4, Priority: 5},
		{Dst: netip.MustParsePrefix("::/0"), Source: netip.MustParseAddr("fd00::1"), Link: 3, Table: 254, Type: 7, Protocol: 3},
	} {
		got := decodeRoutes(body(func(b *rtnl.Batch) { r.Append(b) }))
		if len(got) != 1 || got[0] != r {
			t.Errorf("%+v becomes %+v", r, got)
		}
	}
}

// body is that of the one message that build makes.
func body(build func(*rtnl.Batch)) []byte {
	var b rtnl.Batch
	build(&b)
	for m := range rtnl.Messages(b.Datagram(1, 0)) {
		return m.Body
	}
	return nil
}
