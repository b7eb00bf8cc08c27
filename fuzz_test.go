package bridged

import (
	"encoding"
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever is read as a port specification prints as one that is read the same, and a refusal says what it refuses.
func FuzzParsePortSpec(f *testing.F) {
	for _, s := range []string{
		"80", "8000-8010:80-90/udp", "[::]:8080:80", "127.0.0.1::80/sctp", "0:80", "65535", "[::1", "8000-8010:80", "[::ffff:10.0.0.1]:1:2",
		"1-65535", "65535-65535:1", "[fe80::1%eth0]:1:2", "080:0080", "80/TCP", "1:2:3:4",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		specs, err := ParsePortSpec(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || len(specs) != 0 {
				t.Fatalf("%q gives %v and %v", s, specs, err)
			}
			return
		}
		if len(specs) == 0 {
			t.Fatalf("%q is no port at all", s)
		}
		for i, spec := range specs {
			again, err := ParsePortSpec(spec.String())
			if err != nil || len(again) != 1 || again[0] != spec {
				t.Fatalf("%q gives %+v, printed %q, which gives %+v, %v", s, spec, spec, again, err)
			}
			switch {
			case spec.ContainerPort != specs[0].ContainerPort+uint16(i), spec.Proto != specs[0].Proto, spec.HostIP != specs[0].HostIP:
				t.Fatalf("%q gives %+v after %+v", s, spec, specs[0])
			case spec.ContainerPort == 0, spec.HostPort.Last < spec.HostPort.First, spec.HostIP.Zone() != "", spec.HostIP.Is4In6():
				t.Fatalf("%q gives %+v", s, spec)
			}
		}
	})
}

// text is a value with a text form that is read back.
type text interface {
	comparable
	encoding.TextMarshaler
}

// fixpoint: what is read from a text is written as a text that is read the same, and written the same again; and JSON, as a value and as
// the key of a map, keeps it.
func fixpoint[T text, P interface {
	*T
	encoding.TextUnmarshaler
}](t *testing.T, input string) {
	t.Helper()
	var v, again T
	if err := P(&v).UnmarshalText([]byte(input)); err != nil {
		if !errors.Is(err, ErrInvalid) || v != again {
			t.Fatalf("%T %q: %v, and the value %v", v, input, err, v)
		}
		return
	}
	form, err := v.MarshalText()
	if err != nil {
		t.Fatalf("%T %q becomes %+v, which has no text: %v", v, input, v, err)
	}
	if err := P(&again).UnmarshalText(form); err != nil || again != v {
		t.Fatalf("%T %q becomes %+v, as text %q, which is read as %+v, %v", v, input, v, form, again, err)
	}
	if !utf8.Valid(form) { // such a text can't come by JSON
		return
	}
	type record struct {
		Value T
		Keys  map[T]bool
	}
	in := record{v, map[T]bool{v: true}}
	b, err := json.Marshal(in)
	var out record
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil || !reflect.DeepEqual(in, out) {
		t.Fatalf("%T %q: JSON %s is read as %+v, %v", v, input, b, out, err)
	}
}

// FuzzTexts feeds all types with a text form: those of state files, of the API and of the command line.
func FuzzTexts(f *testing.F) {
	for _, s := range []string{
		"", "tcp", "UDP", "5432/tcp", "53", "0/tcp", "065535/sctp", "02:42:ac:11:00:02", "0242.ac11.0002", "02-42-AC-11-00-02", "00:00:00:00:00:00",
		"0.0.0.0:8080/tcp", "[::]:80/udp", "[fd00::1]:1/sctp", "[::ffff:10.0.0.1]:80/tcp", "[fe80::1%eth0]:80/tcp", "10.0.0.1:0/tcp", "10.0.0.1:080/tcp",
		"n1/4", "n1/6", "/4", "n1/5", "a/b", "a/b/10.0.0.2/fd00::2", "a+lease%2Fof+1%25/b/10.0.0.2/10.0.0.3", "a/b/::ffff:1.2.3.4/1.2.3.4", "a/b/fe80::1%x/::",
		"%zz/b", "web", "br0", "bv123456789abc", "a:b", "9000", "0x10", "true", "T", "255.255.255.255",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fixpoint[Proto, *Proto](t, s)
		fixpoint[ProtoPort, *ProtoPort](t, s)
		fixpoint[MAC, *MAC](t, s)
		fixpoint[Binding, *Binding](t, s)
		fixpoint[PoolID, *PoolID](t, s)
		fixpoint[LinkID, *LinkID](t, s)
		id := LinkID{Parent: s, Child: "b/" + s, ParentIP: netip.IPv4Unspecified(), ChildIP: netip.IPv6Unspecified()}
		form, err := id.MarshalText()
		var again LinkID
		if err == nil {
			err = again.UnmarshalText(form)
		}
		if err != nil || again != id {
			t.Fatalf("link %+v has the text %q, which is read as %+v, %v", id, form, again, err)
		}
		names(t, s)
		optionValues(t, s)
	})
}

// names: a name that is allowed is one of a file, of a word on the command line, and of a segment in a path.
func names(t *testing.T, s string) {
	t.Helper()
	if CheckName("network", s) == nil && (strings.ContainsAny(s, "/ %\n\x00") || s == "." || s == ".." || len(s) > MaxName || strings.HasPrefix(s, "-")) {
		t.Fatalf("%q is a name", s)
	}
	if CheckLinkName(s) == nil && (strings.ContainsAny(s, "/: %\n\x00") || s == "." || s == ".." || len(s) > MaxLinkName) {
		t.Fatalf("%q is an interface's name", s)
	}
	if CheckBridgeName(s) == nil && (CheckLinkName(s) != nil || strings.HasPrefix(s, PortPrefix)) {
		t.Fatalf("%q is a bridge's name", s)
	}
}

// optionValues: an option is set or refused, and a value that the network has is one that it can have.
func optionValues(t *testing.T, s string) {
	t.Helper()
	for _, key := range append(sortedKeys(options), s) {
		var n, again Network
		if err := n.SetOptions(map[string]string{key: s}); err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("option %s=%q: %v", key, s, err)
			}
			continue
		}
		if n.MTU != 0 && CheckMTU(n.MTU) != nil || n.Bridge != "" && CheckBridgeName(n.Bridge) != nil || n.HostIP.IsValid() && !n.HostIP.Is4() {
			t.Fatalf("option %s=%q gives %+v", key, s, n)
		}
		if err := again.SetOptions(n.Options); err != nil || !again.Equal(n) {
			t.Fatalf("options %v give %+v and then %+v, %v", n.Options, n, again, err)
		}
	}
}
