package store

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged"
)

// golden is what the recorded files in testdata say: something of every kind, with every field that they had when they were recorded. Files of a
// format are never recorded anew: each later version must read them.
func golden() bridged.State {
	prefix, ip := netip.MustParsePrefix, netip.MustParseAddr
	at := time.Date(2026, 11, 21, 5, 0, 0, 123456789, time.UTC)
	nsid := bridged.NamespaceID{Dev: 4, Ino: 4026532301, Cookie: 17}
	tcp := bridged.Binding{HostIP: ip("0.0.0.0"), Proto: bridged.TCP, HostPort: 8080}
	sctp := bridged.Binding{HostIP: ip("2001:db8::1"), Proto: bridged.SCTP, HostPort: 132}
	link := bridged.Link{
		Parent: "s1", Child: "key/of a lease", ParentIP: ip("10.1.0.2"), ChildIP: ip("10.1.0.3"), Alias: "db",
		Ports: []bridged.ProtoPort{{Proto: bridged.UDP, Port: 53}, {Proto: bridged.TCP, Port: 5432}}, Created: at, Gone: true,
	}
	return bridged.State{
		Networks: map[string]bridged.Network{
			"n1": {
				ID: "n1", Name: "web", Created: at, Driver: bridged.DriverBridge, Bridge: "bd0123456789ab", BridgeMAC: bridged.MAC{2, 0x42, 10, 1, 0, 1},
				IPv4: bridged.Subnet{Prefix: prefix("10.1.0.0/16"), Range: prefix("10.1.1.0/24"), Gateway: ip("10.1.0.1"),
					Aux: map[string]netip.Addr{"router": ip("10.1.0.254")}},
				IPv6: bridged.Subnet{Prefix: prefix("fd00:1::/64"), Gateway: ip("fd00:1::1")},
				MTU:  1400, Internal: true, ICC: true, Masquerade: true, SourceGuard: true, HostIP: ip("192.0.2.1"),
				Options: map[string]string{"com.docker.network.bridge.enable_icc": "true"}, Labels: map[string]string{"team": "a"},
			},
			"n2": {ID: "n2", Name: "bridge", Created: at, Driver: bridged.DriverBridge, Bridge: "br0", Given: true},
			"n3": {ID: "n3", Name: "none", Created: at, Driver: bridged.DriverNull},
		},
		Sandboxes: map[string]bridged.Sandbox{
			"s1": {ID: "s1", Name: "one", Created: at, Mode: bridged.ModeBridge, NetNS: "/run/netns/one", NSID: nsid, Made: true, Settled: true},
			"s2": {ID: "s2", Name: "two", Created: at, Mode: bridged.ModeContainer, Shares: "s1", Settled: true},
			"s3": {ID: "s3", Name: "three", Created: at, Mode: bridged.ModeHost, Gone: true},
		},
		Endpoints: map[string]bridged.Endpoint{
			"e1": {ID: "e1", Network: "n1", Sandbox: "s1", HostInterface: "bv0123456789ab", Interface: "eth0", MAC: bridged.MAC{2, 0x42, 10, 1, 0, 2},
				MTU: 1400, IPv4: prefix("10.1.0.2/16"), IPv6: prefix("fd00:1::2/64")},
			"e2": {ID: "e2", Network: "n1", Sandbox: "key/of a lease", MAC: bridged.MAC{2, 0x42, 10, 1, 0, 3}, IPv4: prefix("10.1.0.3/16")},
		},
		Ports: map[bridged.Binding]bridged.Port{
			tcp:  {Binding: tcp, Sandbox: "s1", Endpoint: "e1", ContainerPort: 80},
			sctp: {Binding: sctp, Sandbox: "s1", Endpoint: "e1", ContainerPort: 132},
		},
		Links:      map[bridged.LinkID]bridged.Link{link.ID(): link},
		Pools:      map[bridged.PoolID]bridged.Pool{{Network: "n1"}: {Next: ip("10.1.1.9"), Freed: []netip.Addr{ip("10.1.1.4"), ip("10.1.1.3")}}, {Network: "n1", IPv6: true}: {Next: ip("fd00:1::4")}},
		Forwarding: bridged.Forwarding{IPv4: true, IPv6: true},
	}
}

// The files that any version has written are read; those of an older format are written anew in the format of today.
func TestGolden(t *testing.T) {
	recorded, err := filepath.Glob("testdata/format-*")
	if err != nil || len(recorded) != objectFormat {
		t.Fatalf("there are %v for %d formats: %v", recorded, objectFormat, err)
	}
	for _, dir := range recorded {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			root := memDir(t)
			d := diskIn(t, root)
			if err := os.CopyFS(root, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			for _, again := range []string{"first", "again"} {
				got, warnings := d.reopen(t)
				if x := diff(golden(), got); x != "" || len(warnings) > 0 {
					t.Fatalf("%s: %q (-want +got):\n%s", again, warnings, x)
				}
				for id, n := range got.Networks {
					want, err := networkKind().encode(&n)
					if err != nil {
						t.Fatal(err)
					}
					if file := readFile(t, d.network(id)); !bytes.Equal(file, want) {
						t.Errorf("%s: the file of network %s is not of today:\n%s", again, id, file)
					}
				}
			}
		})
	}
}

// A file of an older format that can't be written anew now is read all the same.
func TestMigrationLater(t *testing.T) {
	root := memDir(t)
	d := diskIn(t, root)
	if err := os.CopyFS(root, os.DirFS("testdata/format-1")); err != nil {
		t.Fatal(err)
	}
	old := readFile(t, d.network("n1"))
	smallDisk(t, filepath.Join(d.dirs.State, "networks"), 12<<10) // three pages: the files fit, and nothing more
	for _, id := range []string{"n1", "n2", "n3"} {
		content, err := os.ReadFile(filepath.Join("testdata/format-1/state/networks", id+".json"))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, d.network(id), content)
	}
	got, warnings := d.reopen(t)
	if x := diff(golden(), got); x != "" || len(warnings) != 3 || !strings.Contains(warnings[0], "format 1 anew") {
		t.Fatalf("on a full disk: %q (-want +got):\n%s", warnings, x)
	}
	if now := readFile(t, d.network("n1")); !bytes.Equal(now, old) {
		t.Errorf("the file was changed:\n%s", now)
	}
}
