package engine

import (
	"os"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// TestConnectOnTheKernel: the default routes of both families and the ports move with the gateway, and packets with them.
func TestConnectOnTheKernel(t *testing.T) {
	w := newWorld(t, testConfig(t), less{})
	w.startWith("0")
	ctx := t.Context()
	if _, _, err := w.engine.CreateNetwork(ctx, bridged.NetworkSpec{Name: "a", IPv6: true}); err != nil {
		t.Fatal(err)
	}
	inside := w.spaces["c1"]
	leads := func(when, link string) {
		t.Helper()
		for _, family := range []string{"-4", "-6"} {
			if routes := inside.run("ip " + family + " route show default"); strings.Count(routes, "default") != 1 || !strings.Contains(routes, " dev "+link+" ") {
				t.Errorf("%s the default route is\n%s, want one by %s", when, routes, link)
			}
		}
		w.equal(when)
		for _, f := range []flow{
			{from: "lan", to: "host", port: 8080, server: "c1"},
			{from: "c2", to: "host", port: 8080, server: "c1"},
			{from: "c1", to: "lan", port: 80, server: "lan", as: "host"},
			{from: "lan", to: "c1", port: 80, at: "c1"},
		} {
			w.check(f)
		}
	}
	leads("at first", "eth0")
	joined, err := w.engine.Connect(ctx, bridged.ConnectSpec{Network: "a", Sandbox: "c1", Options: map[string]string{
		bridged.OptionInterface: "lan0", bridged.OptionSysctls: "net.ipv4.conf.IFNAME.log_martians=1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	leads("after joining a", "lan0")
	inside.must(func() error {
		if v, err := os.ReadFile("/proc/sys/net/ipv4/conf/lan0/log_martians"); err != nil || string(v) != "1\n" {
			t.Errorf("the endpoint's parameter is %q (%v)", v, err)
		}
		return nil
	})
	w.stop()
	w.host.run("ip link set " + joined.Network.Bridge + " down")
	inside.run("ip route del default")
	w.start()
	leads("after a restart that finds the route gone", "lan0")
	if err := w.engine.Disconnect(ctx, "a", "c1", false); err != nil {
		t.Fatal(err)
	}
	leads("after leaving a", "eth0")
	w.engine.settle()
	if links := inside.run("ip -br link"); strings.Contains(links, "lan0") {
		t.Errorf("the interface is still there:\n%s", links)
	}
	if _, err := w.engine.Connect(ctx, bridged.ConnectSpec{Network: "a", Sandbox: "c1", Priority: -1}); err != nil {
		t.Fatal(err)
	}
	leads("with a lower priority", "eth0")
	w.end()
}
