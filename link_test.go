package bridged

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParseProtoPort(t *testing.T) {
	for text, want := range map[string]ProtoPort{
		"80": {TCP, 80}, "80/tcp": {TCP, 80}, "53/UDP": {UDP, 53}, "65535/sctp": {SCTP, 65535},
	} {
		got, err := ParseProtoPort(text)
		if err != nil || got != want {
			t.Errorf("%s reads as %v, %v", text, got, err)
		}
		if again, err := ParseProtoPort(got.String()); err != nil || again != got {
			t.Errorf("%s prints as %s, which reads as %v, %v", text, got, again, err)
		}
	}
	for text, why := range map[string]string{
		"": "is missing", "/tcp": "is missing", "x": "is no number", "0": "no port 0", "65536/tcp": "larger than 65535",
		"80/": "use tcp, udp or sctp", "80/icmp": "use tcp, udp or sctp", "80-81": "is no number", "80/tcp/": "use tcp, udp or sctp",
	} {
		_, err := ParseProtoPort(text)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q gives %v; want ErrInvalid that says %q", text, err, why)
		}
	}
}

func TestLinkIDText(t *testing.T) {
	a4, b4 := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	a6, b6 := netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::3")
	seen := make(map[string]LinkID)
	for _, id := range []LinkID{
		{Parent: "a", Child: "b"}, {Parent: "b", Child: "a"}, {Parent: "a/b", Child: "c"}, {Parent: "a", Child: "b/c"},
		{Parent: "a%2Fb", Child: " ü\n"}, {}, {Parent: "a", Child: "b", ParentIP: a4, ChildIP: b4}, {Parent: "a", Child: "b", ParentIP: a6, ChildIP: b6},
	} {
		text, err := id.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[string(text)]; twice {
			t.Errorf("%+v and %+v are both %s", id, other, text)
		}
		seen[string(text)] = id
		var again LinkID
		if err := again.UnmarshalText(text); err != nil || again != id {
			t.Errorf("%+v is %s, which reads as %+v, %v", id, text, again, err)
		}
	}
	for _, text := range []string{"", "a", "a/b/10.0.0.2", "a/b/x/10.0.0.2", "a/b/10.0.0.2/x", "%/b", "a/%"} {
		if err := new(LinkID).UnmarshalText([]byte(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q gives %v; want ErrInvalid", text, err)
		}
	}
}
