package hostcheck_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/nstest"
)

// network is three namespaces: inside ── docker0 (host) eth0 ── outside. The host publishes port 8080 to port 80 inside, and
// counts what comes to the forward hook, before everybody's chains, and what is left behind them.
type network struct {
	ns, inside, outside nstest.NS
}

// router is a network without a firewall.
func router(t *testing.T) network {
	t.Helper()
	n := network{nstest.New(t), nstest.New(t), nstest.New(t)}
	for _, end := range []struct {
		peer                           nstest.NS
		name, mac, peerMAC             string
		gateway, address, prefixLength string
	}{
		{n.inside, "docker0", "02:00:00:00:00:01", "02:00:00:00:00:02", "172.17.42.1", "172.17.0.2", "/16"},
		{n.outside, "eth0", "02:00:00:00:00:03", "02:00:00:00:00:04", "198.51.100.1", "198.51.100.2", "/24"},
	} {
		n.ns.Run("ip link add " + end.name + " address " + end.mac + " type veth peer name far address " + end.peerMAC)
		n.ns.Run("ip link set far netns " + end.peer.Path())
		n.ns.Run("ip address add " + end.gateway + end.prefixLength + " dev " + end.name)
		n.ns.Run("ip link set " + end.name + " up")
		n.ns.Run("ip neighbour add " + end.address + " lladdr " + end.peerMAC + " dev " + end.name)
		end.peer.Run("ip address add " + end.address + end.prefixLength + " dev far")
		end.peer.Run("ip link set far up")
		end.peer.Run("ip neighbour add " + end.gateway + " lladdr " + end.mac + " dev far")
		end.peer.Run("ip route add default via " + end.gateway)
	}
	n.ns.Run("ip route add default via 198.51.100.2")
	n.ns.Do(func() { check(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)) })
	return n
}

// meter counts new connections by the interface that they come from. It is a table of ours: its name is not judged.
const meter = `
table inet bridged {
	counter came-docker0 { }
	counter left-docker0 { }
	counter came-eth0 { }
	counter left-eth0 { }
	chain publish { type nat hook prerouting priority dstnat; iifname "eth0" tcp dport 8080 dnat ip to 172.17.0.2:80; }
	chain first { type filter hook forward priority -1000; ct state new counter name iifname map { "docker0" : "came-docker0", "eth0" : "came-eth0" }; }
	chain last { type filter hook forward priority 1000; ct state new counter name iifname map { "docker0" : "left-docker0", "eth0" : "left-eth0" }; }
}`

// counter reads one of the meter's.
func (n network) counter(t *testing.T, name string) string {
	t.Helper()
	fields := strings.Fields(n.ns.Run("nft list counter inet bridged " + name))
	for i, f := range fields {
		if f == "packets" {
			return fields[i+1]
		}
	}
	t.Fatalf("no counter in %v", fields)
	return ""
}

// passes sends the first packet of a connection and reports whether it got past all chains. The kernel has dealt with it when the call
// that sent it returns: veth hands over within it, and nobody has to ask for a neighbour's address.
func (n network) passes(t *testing.T, from nstest.NS, to, iif string) bool {
	t.Helper()
	from.Do(func() { connect(t, netip.MustParseAddrPort(to)) })
	if came := n.counter(t, "came-"+iif); came != "1" {
		t.Fatalf("%s packets came in by %s, want 1", came, iif)
	}
	return n.counter(t, "left-"+iif) == "1"
}

// connect sends a SYN and does not wait.
func connect(t *testing.T, to netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != unix.EINPROGRESS {
		t.Fatalf("connect to %v: %v", to, err)
	}
}

// TestJudgementIsThatOfPackets: what findings say of a firewall is what it does to packets.
func TestJudgementIsThatOfPackets(t *testing.T) {
	nstest.NeedTool(t, "nft")
	own := hostcheck.Own{Bridges: []hostcheck.OwnBridge{docker0}}
	for _, f := range firewalls {
		t.Run(f.name, func(t *testing.T) {
			n := router(t)
			load(t, n.ns, f.ruleset+meter)
			said := ways(stopping(read(t, n.ns, own)))
			var did []string
			if !n.passes(t, n.inside, "198.51.100.2:80", "docker0") {
				did = append(did, "out")
			}
			if !n.passes(t, n.outside, "198.51.100.1:8080", "eth0") {
				did = append(did, "in")
			}
			if got := strings.Join(did, " "); got != said {
				t.Errorf("stopped are %q, findings say %q", got, said)
			}
		})
	}
}
