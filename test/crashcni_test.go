package test

import "fmt"

// A CNI runtime as the daemon sees it: attachments of containers, whose namespaces have their names, to a network with everything that the view
// shows.
func attachment(container, inner, more string) steps {
	return steps{fmt.Sprintf(`POST attachments {"Key": {"Network": "pods", "Container": %q, "Interface": %q}, "NetNS": "/run/netns/%[1]s",
		"Network": {"Bridge": "brpods", "Gateway": true, "Masquerade": true, "SourceGuard": true, "Sources": ["192.0.2.0/24"],
		"IPv4": {"Prefix": "10.9.0.0/24"}, "IPv6": {"Prefix": "fd00:9::/64"}}, "DefaultRoute": true%[3]s}`, container, inner, more)}
}

var (
	attach = attachment("pod", "eth0", `, "IPs": ["10.9.0.9"], "Bandwidth": {"Ingress": {"Rate": 8000000, "Burst": 800000}, "Egress": {"Rate": 8000000, "Burst": 800000}},
		"Sysctls": {"net.ipv4.conf.IFNAME.arp_notify": "1"}, "Inside": {"Routes": [{"Dst": "10.99.0.0/16"}], "MTU": 1400},
		"Ports": [{"HostPort": {"First": 8081, "Last": 8081}, "ContainerPort": 80, "Proto": "tcp"}, {"HostPort": {"First": 8081, "Last": 8081}, "ContainerPort": 80, "Proto": "udp"}]`)
	detach       = steps{`DELETE attachments?network=pods&container=pod&interface=eth0`}
	attachSecond = attachment("pod", "eth1", `, "IPs": ["10.9.0.19"]`)
	detachSecond = steps{`DELETE attachments?network=pods&container=pod&interface=eth1`}
	attachOther  = attachment("other", "eth0", `, "IPs": ["10.9.0.29"]`)
)

// runtimes are what CNI runtimes ask for. A network stays once it is made, so another container is in it from the beginning.
func runtimes() []operation {
	containers := func(w *crashWorld) {
		w.netns("pod", "link set lo up")
		w.netns("other", "link set lo up")
	}
	networked := func(w *crashWorld) { w.must(attachOther) }
	attached := func(w *crashWorld) {
		networked(w)
		w.must(attach)
	}
	var all []operation
	for _, p := range []inverse{
		{name: "attachment", host: containers, given: networked, make: attach, unmake: detach, uses: sent(8081), traces: "10.9.0.9"},
		{name: "second attachment", host: containers, given: attached, make: attachSecond, unmake: detachSecond},
	} {
		all = append(all, p.both()...)
	}
	return append(all,
		operation{
			name: "attachment that the kernel refuses", given: networked, do: request(attach),
			host: func(w *crashWorld) {
				containers(w)
				s := w.host.Open(w.t, "pod", "/run/netns/pod")
				defer s.Close()
				s.IP(w.t, "link add eth0 type veth peer name eth1")
			},
		},
		operation{
			name: "repair an attachment's bandwidth", first: true, dies: true, host: containers, given: attached,
			do: func(w *crashWorld) bool {
				w.host.Output(w.t, "sh", "-c", "ip -o link show type ifb | sed 's/^[0-9]*: //; s/:.*//' | xargs -n1 ip link del")
				return true
			},
		},
		operation{
			name: "start without an attachment's bandwidth", starts: true, do: launched(usual), host: containers, given: attached,
			ahead: func(w *crashWorld) {
				w.died()
				w.host.Output(w.t, "sh", "-c", "ip -o link show type ifb | sed 's/^[0-9]*: //; s/:.*//' | xargs -n1 ip link del")
			},
		},
	)
}
