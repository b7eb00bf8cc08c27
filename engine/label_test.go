package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/link"
)

var compareLabels = cmp.Options{cmp.AllowUnexported(label{}), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})}

// labelled is the label of a sandbox with that name.
func labelled(name string) label {
	ip := netip.MustParseAddr("172.17.0.2")
	return label{
		sandbox: bridged.Sandbox{
			ID: strings.Repeat("a1", 32), Name: name, Created: time.Unix(1_763_700_000, 0).UTC(), Made: true,
			NSID: bridged.NamespaceID{Ino: 4026532301, Cookie: 17},
		},
		endpoint: bridged.Endpoint{
			ID: strings.Repeat("b2", 32), Interface: "eth0", MAC: bridged.MAC(addr.MACOf(ip)), IPv4: netip.PrefixFrom(ip, 32),
		},
	}
}

func TestLabel(t *testing.T) {
	l := labelled("web")
	const want = "bridged web id=oaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaE ep=srKysrKysrKysrKysrKysrKysrKysrKysrKysrKysrI " +
		"if=eth0 ip=172.17.0.2 ns=4026532301.17 made since=1763700000"
	if got := l.String(); got != want {
		t.Errorf("the label is\n%s, want\n%s", got, want)
	}
	attached := labelled("4f1c")
	attached.sandbox.Made, attached.sandbox.CNI, attached.sandbox.ID = false, true, containerID("4f1c")
	attached.endpoint.Bandwidth.Egress = bridged.Rate{Rate: 8_000_000, Burst: 80_000}
	if got, ok := parseLabel(attached.String()); !ok || !cmp.Equal(got, attached, compareLabels) || !strings.Contains(attached.String(), " cni bw=0.0.8000000.80000 ") {
		t.Errorf("%s is read as %+v", attached, got)
	}
	// What does not fit is left out, the least important first.
	long := labelled(strings.Repeat("x", 80))
	long.endpoint.IPv6 = netip.MustParsePrefix("fd00:1111:2222:3333::2/128")
	if got, ok := parseLabel(long.String()); !ok || got.sandbox.Name != long.sandbox.Name || !got.sandbox.Created.IsZero() {
		t.Errorf("%s is read as %+v", long, got)
	}
	longer := labelled(strings.Repeat("x", bridged.MaxName))
	if got, ok := parseLabel(longer.String()); !ok || got.sandbox.Name != "" || got.sandbox.ID != longer.sandbox.ID {
		t.Errorf("%s is read as %+v", longer, got)
	}
	l.sandbox.ID = "ours it is not"
	if got := l.String(); got != "" {
		t.Errorf("the label of an id that is not ours is %s", got)
	}
}

// leased is the label of a lease of Docker's engine.
func leased(name string) label {
	l := labelled("")
	l.endpoint.Interface, l.endpoint.Sandbox, l.endpoint.Peer, l.endpoint.Name = "", strings.Repeat("c3", 32), "bp0123456789ab", name
	return label{endpoint: l.endpoint}
}

func TestLeaseLabel(t *testing.T) {
	l := leased("web")
	const want = "bridged web key=c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3 ep=srKysrKysrKysrKysrKysrKysrKysrKysrKysrKysrI " +
		"peer=bp0123456789ab ip=172.17.0.2"
	if got := l.String(); got != want {
		t.Errorf("the label is\n%s, want\n%s", got, want)
	}
	// Docker's longest fits with everything but the name.
	long := leased(strings.Repeat("x", 128))
	long.endpoint.MAC = bridged.MAC{2, 5: 7}
	long.endpoint.IPv4, long.endpoint.IPv6 = netip.MustParsePrefix("172.217.200.200/32"), netip.MustParsePrefix("fd00:1111:2222:3333:4444:5555:6666:7777/128")
	got, ok := parseLabel(long.String())
	long.endpoint.Name = ""
	if x := cmp.Diff(long, got, compareLabels); !ok || x != "" {
		t.Errorf("%s is read (-want +got):\n%s", long, x)
	}
	for _, key := range []string{"a key", "ключ", strings.Repeat("k", bridged.MaxName)} {
		l.endpoint.Sandbox = key
		if got := l.String(); got != "" {
			t.Errorf("the label of the key %.20q is %s", key, got)
		}
	}
	for _, bad := range []string{
		strings.Replace(want, "key=", "key=/", 1), strings.Replace(want, "peer=bp", "peer=b/p", 1), strings.Replace(want, " peer=", " if=", 1),
		want + " if=eth0", want + " made", want + " ns=1.2", strings.Replace(want, "key=", "id=", 1), strings.Replace(want, " ep=", " xp=", 1),
	} {
		if l, ok := parseLabel(bad); ok {
			t.Errorf("%q is read as %+v", bad, l)
		}
	}
}

func TestParseLabelRefuses(t *testing.T) {
	good := labelled("web").String()
	if _, ok := parseLabel(good); !ok {
		t.Fatalf("%s is refused", good)
	}
	for _, bad := range []string{
		"", "bridged", "bridged web", "an uplink", strings.TrimPrefix(good, "bridged "), good + " ", good + " more=1",
		strings.Replace(good, " web ", " ../web ", 1), strings.Replace(good, "id=o", "id=", 1), strings.Replace(good, "ep=s", "ep=*", 1),
		strings.Replace(good, "if=eth0", "if=", 1), strings.Replace(good, "if=eth0", "if=a/b", 1), strings.Replace(good, "172.", "372.", 1),
		strings.Replace(good, "ns=4026532301.17", "ns=x.17", 1), strings.Replace(good, "ns=4026532301.17 ", "", 1),
		strings.Replace(good, "since=1", "since=z", 1), strings.Replace(good, "ip=172.17.0.2 ", "", 1),
	} {
		if l, ok := parseLabel(bad); ok {
			t.Errorf("%q is read as %+v", bad, l)
		}
	}
}

// What is written is read, and fits.
func TestLabelRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := label{
			sandbox: bridged.Sandbox{
				ID: bridged.NewID(), Name: rapid.StringMatching(`[a-zA-Z0-9][a-zA-Z0-9_.-]{0,30}`).Draw(t, "name"),
				Created: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "since"), 0).UTC(), Made: rapid.Bool().Draw(t, "made"),
				NSID: bridged.NamespaceID{Ino: rapid.Uint64Range(1, 1<<32).Draw(t, "ino"), Cookie: rapid.Uint64Range(0, 1<<20).Draw(t, "cookie")},
			},
			endpoint: bridged.Endpoint{
				ID: bridged.NewID(), Interface: rapid.StringMatching(`[a-z]{1,8}[0-9]{0,3}`).Draw(t, "interface"),
				MAC: bridged.MAC{2, 5: rapid.Byte().Draw(t, "mac")},
			},
		}
		if rapid.Bool().Draw(t, "IPv4") {
			l.endpoint.IPv4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 2, rapid.Byte().Draw(t, "v4")}), 32)
		}
		if rapid.Bool().Draw(t, "IPv6") {
			l.endpoint.IPv6 = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 15: rapid.Byte().Draw(t, "v6")}), 128)
		}
		text := l.String()
		if len(text) > link.MaxAlias {
			t.Fatalf("%d bytes: %s", len(text), text)
		}
		got, ok := parseLabel(text)
		if x := cmp.Diff(l, got, compareLabels); !ok || x != "" {
			t.Fatalf("%s is read (-want +got):\n%s", text, x)
		}
	})
}

// FuzzLabel: whatever the alias, what is read of it is read again of what is written of it.
func FuzzLabel(f *testing.F) {
	f.Add(labelled("web").String())
	f.Add(leased("web").String())
	f.Add(labelled(strings.Repeat("x", 200)).String())
	f.Add("bridged - id= ep= mac=02:00:00:00:00:01 ip=::1 ns=1.2")
	f.Fuzz(func(t *testing.T, text string) {
		l, ok := parseLabel(text)
		if !ok {
			return
		}
		again, ok := parseLabel(l.String())
		if !ok {
			t.Fatalf("%q is read, and its label %q is not", text, l)
		}
		if len(text) <= 200 { // a longer one may lose something
			if x := cmp.Diff(l, again, compareLabels); x != "" {
				t.Fatalf("%q and %q (-first +second):\n%s", text, l, x)
			}
		}
	})
}
