package hostcheck_test

import (
	"testing"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/link"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addBridge makes a bridge by package link: one of ours.
func addBridge(t *testing.T, n nstest.NS, name, address string) {
	t.Helper()
	n.Do(func() {
		c, err := link.Dial()
		check(t, err)
		defer c.Close()
		_, err = c.CreateBridge(link.Bridge{Name: name, MAC: addr.MAC{2, 0x42, 0, 0, 0, 1}})
		check(t, err)
	})
	n.Run("ip address add " + address + " dev " + name)
	n.Run("ip link set " + name + " up")
}

// TestReadTaken: routes of all tables and types are seen, those of our bridges don't count.
func TestReadTaken(t *testing.T) {
	n := nstest.New(t)
	n.Run("ip link set lo up")
	n.Run("ip link add tun0 type veth peer name other")
	n.Run("ip address add 198.51.100.7/24 dev tun0")
	n.Run("ip link set tun0 up")
	n.Run("ip link set other up")
	n.Run("ip route add default via 198.51.100.1")
	n.Run("ip route add 0.0.0.0/1 dev tun0")
	n.Run("ip route add 10.0.0.0/16 dev tun0")
	n.Run("ip route add 10.1.0.0/16 dev tun0 table 100")
	n.Run("ip route add blackhole 10.2.0.0/16")
	n.Run("ip route add fd00:5::/48 dev tun0")
	addBridge(t, n, "docker0", "10.3.0.1/16")

	var taken hostcheck.Taken
	n.Do(func() {
		var err error
		taken, err = hostcheck.ReadTaken(nil)
		check(t, err)
	})
	taken.Nameservers = nil // of the machine that runs the test
	for candidate, want := range map[string]string{
		"10.0.42.1/16":    "requested network 10.0.0.0/16 overlaps with route 10.0.0.0/16 dev tun0",
		"10.1.42.1/16":    "requested network 10.1.0.0/16 overlaps with route 10.1.0.0/16 dev tun0 table 100",
		"10.2.3.0/24":     "requested network 10.2.3.0/24 overlaps with route blackhole 10.2.0.0/16",
		"198.51.100.0/28": "requested network 198.51.100.0/28 overlaps with route 198.51.100.0/24 dev tun0",
		"127.1.0.0/16":    "requested network 127.1.0.0/16 overlaps with route local 127.0.0.0/8 dev lo",
		"fd00:5:0:1::/64": "requested network fd00:5:0:1::/64 overlaps with route fd00:5::/48 dev tun0",
		"10.3.0.0/16":     "",
		"172.17.42.1/16":  "",
		"192.168.42.1/24": "",
		"fd00:6::/64":     "",
		"198.51.101.0/24": "",
	} {
		got := ""
		if err := taken.Check(prefix(candidate)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", candidate, got, want)
		}
	}
}

// TestReadTakenOwn: the caller says which bridges are its own.
func TestReadTakenOwn(t *testing.T) {
	n := nstest.New(t)
	n.Run("ip link add br0 type bridge")
	n.Run("ip address add 10.3.0.1/16 dev br0")
	n.Run("ip link set br0 up")
	for own, want := range map[string]string{
		"br0":     "",
		"another": "requested network 10.3.0.0/16 overlaps with route 10.3.0.0/16 dev br0",
	} {
		n.Do(func() {
			taken, err := hostcheck.ReadTaken(func(l link.Link) bool { return l.Name == own })
			check(t, err)
			taken.Nameservers = nil
			got := ""
			if err := taken.Check(prefix("10.3.0.0/16")); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("own %s: got %q, want %q", own, got, want)
			}
		})
	}
}
