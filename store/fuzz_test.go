package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/bridged/bridged"
)

// attachChange is what a sandbox with two published ports writes.
func attachChange() bridged.Change {
	sb := bridged.Sandbox{ID: bridged.NewID(), Name: "web", Mode: bridged.ModeBridge, NetNS: "/run/netns/web", Made: true, Settled: true}
	ep := bridged.Endpoint{
		ID: bridged.NewID(), Network: bridged.NewID(), Sandbox: sb.ID, HostInterface: bridged.NewLinkName(bridged.PortPrefix), Interface: "eth0",
		MAC:  bridged.MAC{0x02, 0x42, 172, 17, 0, 2},
		IPv4: netip.MustParsePrefix("172.17.0.2/16"), IPv6: netip.MustParsePrefix("fd00::2/64"),
	}
	c := bridged.Change{
		Sandboxes: map[string]*bridged.Sandbox{sb.ID: &sb},
		Endpoints: map[string]*bridged.Endpoint{ep.ID: &ep},
		Ports:     map[bridged.Binding]*bridged.Port{},
	}
	for _, ip := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		b := bridged.Binding{HostIP: ip, Proto: bridged.TCP, HostPort: 8080}
		c.Ports[b] = &bridged.Port{Binding: b, Sandbox: sb.ID, Endpoint: ep.ID, ContainerPort: 80}
	}
	return c
}

// Whatever the log holds: it opens, and what it said is what it says when it is opened again and when it is compacted.
func FuzzLog(f *testing.F) {
	var b bytes.Buffer
	for _, v := range []any{
		header{Format: logFormat, Boot: "boot one"}, attachChange(), bridged.Change{Sandboxes: map[string]*bridged.Sandbox{"s1": nil}},
		bridged.Change{Pools: map[bridged.PoolID]*bridged.Pool{{Network: "n1"}: {Freed: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}}},
	} {
		if err := appendRecord(&b, v); err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.Clone(b.Bytes()))
		f.Add(bytes.Clone(b.Bytes()[:b.Len()-1]))
	}
	f.Add([]byte{})
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(memDir(t), "log")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		replayed := func() (*runLog, bridged.State, string) {
			var s bridged.State
			noted, err := openLength(filepath.Join(filepath.Dir(path), "length"))
			if err != nil {
				t.Fatal(err)
			}
			l, c, warning, err := openLog(path, path+".former", "boot one", noted)
			if errors.Is(err, bridged.ErrUnavailable) {
				t.Skip("a newer format")
			}
			if err != nil {
				t.Fatal(err)
			}
			s.Apply(bridged.Change{Networks: c.networks, Reservations: c.reservations})
			for _, change := range c.records {
				s.Apply(change)
			}
			return l, s, warning
		}
		closeLog := func(l *runLog) {
			l.file.Close()
			l.noted.close()
		}
		l, first, _ := replayed()
		closeLog(l)
		l, second, warning := replayed()
		if x := diff(first, second); x != "" || warning != "" {
			t.Fatalf("opened again, %q (-first +second):\n%s", warning, x)
		}
		if err := l.compact(second.Whole()); err != nil {
			t.Fatal(err)
		}
		closeLog(l)
		l, third, _ := replayed()
		closeLog(l)
		if x := diff(second, third); x != "" {
			t.Fatalf("compacted (-second +third):\n%s", x)
		}
	})
}

// FuzzChange feeds the decoder of a change with JSON whose checksum is right, and holds the scanner against package encoding/json.
func FuzzChange(f *testing.F) {
	for _, c := range []bridged.Change{{}, attachChange(), sandbox("s1"), {Forwarding: &bridged.Forwarding{IPv4: true}}} {
		b, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"Ports":{"0.0.0.0:80/tcp":null},"Pools":{"n1/4":null}}`))
	f.Add([]byte(`{"Endpoints":{"e":null,"e":{"ID":"e","MTU":01},"f":{"id":"f","MTU":1}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if !json.Valid(content) {
			t.Skip("no JSON")
		}
		var b bytes.Buffer
		if err := appendRecord(&b, json.RawMessage(content)); err != nil {
			t.Fatal(err)
		}
		var c, again bridged.Change
		err := decodeRecord(b.Bytes(), &c)
		if scanned, ok := newScanner().change(content); ok && (err != nil || !reflect.DeepEqual(scanned, c)) {
			t.Fatalf("the scanner reads %+v, and encoding/json %+v, %v", scanned, c, err)
		}
		if err != nil {
			t.Skip("no change")
		}
		b.Reset()
		if err := appendRecord(&b, c); err != nil {
			t.Skip("no change that Append would have written")
		}
		if err := decodeRecord(b.Bytes(), &again); err != nil {
			t.Fatal(err)
		}
		var x, y bridged.State
		x.Apply(c)
		y.Apply(again)
		if d := diff(x, y); d != "" {
			t.Fatalf("written and read again (-first +second):\n%s", d)
		}
	})
}

func FuzzNetwork(f *testing.F) {
	good, err := networkKind().encode(&bridged.Network{
		ID: "n1", Name: "web", Driver: bridged.DriverBridge, BridgeMAC: bridged.MAC{2},
		IPv4: bridged.Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Aux: map[string]netip.Addr{"dns": netip.MustParseAddr("10.0.0.9")}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"Format": 2}`))
	f.Add([]byte(`{"Format": 1, "Network": {"ID": "n1", "Name": "web"}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		n, _, err := networkKind().decode("n1.json", content)
		if err != nil {
			return
		}
		b, err := networkKind().encode(n)
		if err != nil {
			t.Fatal(err)
		}
		again, format, err := networkKind().decode("n1.json", b)
		if err != nil || format != objectFormat || !again.Equal(*n) {
			t.Fatalf("written and read again: %+v, %v, want %+v", again, err, n)
		}
	})
}
