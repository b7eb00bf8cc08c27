package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/engine"
)

// FuzzFlags: a flag's value is refused with words, or it is one that reads the same as it prints, and that the daemon can have.
func FuzzFlags(f *testing.F) {
	for _, s := range []string{
		"base=10.64.0.0/10,size=24", "size=64,base=fd00:7::/48", "base=10.0.0.0/8", "base=10.0.0.0/8,size=0,size=9", "size=24", "base=10.0.0.0/8,size=-1",
		"172.17.42.1/16", "fd00:1::1/64", "172.17.0.0/16", "172.17.255.255/16", "::ffff:10.0.0.1/120", "10.0.0.1/31", "192.168.1.0/24", "127.0.0.1/8",
		"192.168.1.1", "::ffff:192.168.1.1", "fe80::1%eth0", "fd00:1::5", "printer=192.168.1.9", "=1.2.3.4", "a=b=c", "a", "=", "02:42:AC:11:00:02",
		"0242.ac11.0002", "1500", "+1500", "067", "65536", "debug", "INFO+2", "warn-1", "8080:80/udp", "5432/tcp", "53", "web-1", "auto", "text",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		reads(t, "pool", s, parsePool, func(p engine.AddressPool) bool {
			return p.Base.IsValid() && p.Base == p.Base.Masked() && p.Size >= p.Base.Bits() && p.Size < p.Base.Addr().BitLen()
		}, func(p engine.AddressPool) string { return fmt.Sprintf("base=%v,size=%d", p.Base, p.Size) })
		reads(t, "subnet", s, parseSubnet, masked, netip.Prefix.String)
		reads(t, "subnet of IPv4", s, parseSubnetOf(netip.Addr.Is4, ""), func(p netip.Prefix) bool { return masked(p) && p.Addr().Is4() }, netip.Prefix.String)
		reads(t, "bip", s, parseBIP, func(p netip.Prefix) bool { return p.Addr().Is4() && p != p.Masked() }, netip.Prefix.String)
		reads(t, "bip6", s, parseBIP6, func(p netip.Prefix) bool { return p.Addr().Is6() && p != p.Masked() }, netip.Prefix.String)
		reads(t, "address", s, parseIP, plain, netip.Addr.String)
		reads(t, "IPv4 address", s, parseIPv4, func(a netip.Addr) bool { return plain(a) && a.Is4() }, netip.Addr.String)
		reads(t, "IPv6 address", s, parseIPv6, func(a netip.Addr) bool { return plain(a) && a.Is6() }, netip.Addr.String)
		reads(t, "MTU", s, parseMTU, func(n int) bool { return bridged.CheckMTU(n) == nil }, func(n int) string { return fmt.Sprint(n) })
		reads(t, "level", s, parseLevel, nil, func(l slog.Level) string { return l.String() })
		reads(t, "key", s, parsePair, func(p pair) bool { return p.key != "" && !strings.Contains(p.key, "=") }, func(p pair) string { return p.key + "=" + p.value })
		reads(t, "named address", s, parseNamed, func(n named) bool { return n.name != "" && plain(n.addr) }, func(n named) string { return n.name + "=" + n.addr.String() })
		same := func(s string) string { return s }
		reads(t, "MAC", s, parseMAC, func(s string) bool { m, err := bridged.ParseMAC(s); return err == nil && m.String() == s }, same)
		reads(t, "publication", s, parsePublish, func(p string) bool { return p == s }, same)
		reads(t, "port of a link", s, parseLinkPort, func(s string) bool { _, err := bridged.ParseProtoPort(s); return err == nil }, same)
		reads(t, "alias", s, parseAlias, func(a string) bool { return a == s && bridged.CheckName("alias", a) == nil }, same)
		reads(t, "word", s, parseOneOf("auto", "monitor"), func(w string) bool { return w == s && (w == "auto" || w == "monitor") }, same)
	})
}

// FuzzConfigFile: a document whose every key could be a flag's is read as by go-toml's decoder, and no other passes for one.
func FuzzConfigFile(f *testing.F) {
	for _, s := range []string{
		"", "# nothing\n", "mtu = 1_400\r\nip = '192.0.2.1' # ours", "a = [\n 'b', # c\n \"\\u0064\",\n]", "a = []", "a = [1]", "a = [['b']]", "a = 'b'\na = 'b'", "a = -0x5",
		"a = +5", "a = 0b1", "a = 007", "a = 9223372036854775808", "a = -9223372036854775808", "a = 1.5", "a = inf", "a = 2026-01-02", "a = 2026-99-99", "a.b = true",
		"[a]\nb = 1\nb = 1", "[[a]]\n[[a]]", "a = {b = 1, b = 1}", "\ufeffa = 1", "a = \"\"\"\nb\\\n  c\"\"\"", "a = '''b\nc'''", "a = \"\xff\"", "a = tru", "a = \"", "a", "'' = 1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want map[string]any
		flat := toml.Unmarshal(text, &want) == nil
		for key, v := range want {
			if list, ok := v.([]any); ok {
				want[key] = textsOf(list)
			}
			switch want[key].(type) {
			case bool, int64, string, []string:
				flat = flat && !strings.Contains(key, ".")
			default:
				flat = false
			}
		}
		got := make(map[string]any)
		var c configFile
		err := c.read(slices.Grow(text, 1)) // as a file is read, with room behind it
		read := err == nil
		for _, s := range c.settings {
			got[s.key] = s.value
			read = read && s.value != nil && !strings.Contains(s.key, ".")
		}
		if read != flat || read && len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is read as %v, %v, and decoded as %v", text, c.settings, err, want)
		}
	})
}

// textsOf are the texts of a list, nil when something else is in it.
func textsOf(list []any) any {
	texts := []string{}
	for _, v := range list {
		text, ok := v.(string)
		if !ok {
			return nil
		}
		texts = append(texts, text)
	}
	return texts
}

// reads: what is read of a text is as it should be, and prints as what is read the same.
func reads[T comparable](t *testing.T, what, text string, parse func(string) (T, error), ok func(T) bool, print func(T) string) {
	t.Helper()
	v, err := parse(text)
	if err != nil {
		if err.Error() == "" {
			t.Fatalf("%s %q is refused without a word", what, text)
		}
		return
	}
	if ok != nil && !ok(v) {
		t.Fatalf("%s %q is read as %v", what, text, v)
	}
	if again, err := parse(print(v)); err != nil || again != v {
		t.Fatalf("%s %q is read as %v, and %q as %v, %v", what, text, v, print(v), again, err)
	}
}

func masked(p netip.Prefix) bool { return p.IsValid() && p == p.Masked() && !p.Addr().Is4In6() }

func plain(a netip.Addr) bool { return a.IsValid() && a.Zone() == "" && !a.Is4In6() }
