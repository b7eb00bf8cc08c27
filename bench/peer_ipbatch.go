package main

import (
	"fmt"
	"strings"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
)

// ipBatchPeer is what a careful shell script would do: as few processes as there can be.
func ipBatchPeer() peer {
	return peer{
		name: report.IPBatch, what: "three processes an attach: ip -batch on the host, ip -batch in the container, iptables-nft-restore for the ports",
		find: func(s *setting) (string, error) {
			if _, err := tool("iptables-nft-restore", "iptables", "--version")(s); err != nil {
				return "", err
			}
			return tool("ip", "iproute2", "-V")(s)
		},
		attach: func(_ *setting, name string) (attacher, error) { return newIPBatch(name) },
	}
}

// ipBatchAttacher has Docker's chains in a world, as the iptables peers.
type ipBatchAttacher struct{ *iptablesPublisher }

func newIPBatch(name string) (*ipBatchAttacher, error) {
	p, err := newIPTables(name, "iptables-nft", true)
	if err != nil {
		return nil, err
	}
	return &ipBatchAttacher{p}, nil
}

func (a *ipBatchAttacher) attach(c *container, ports []uint16) ([]step, error) {
	outside := fmt.Sprintf("link add %s type veth peer name eth0 netns %s\nlink set %[1]s master %[3]s up\n", c.link, c.name, bridgeName)
	inside := fmt.Sprintf("link set lo up\nlink set eth0 up\naddr add %s dev eth0\nroute add default via %s\n", c.address, bridgeAddr.Addr())
	rules := portRules("-A", c, ports)
	return []step{
		{"ip, host", func() error { return a.ip(outside, "-batch", "-") }},
		{"ip, container", func() error { return a.ip(inside, "-n", c.name, "-batch", "-") }},
		{"iptables-restore", func() error { return a.restoring(rules) }},
	}, nil
}

func (a *ipBatchAttacher) detach(c *container, ports []uint16) ([]step, error) {
	rules := portRules("-D", c, ports)
	return []step{
		{"iptables-restore", func() error { return a.restoring(rules) }},
		{"ip, host", func() error { return a.ip("link del "+c.link+"\n", "-batch", "-") }},
	}, nil
}

func (a *ipBatchAttacher) ip(script string, args ...string) error {
	_, err := a.w.host.exec(script, "ip", args...)
	return err
}

// portRules adds or deletes the rules of a container's ports.
func portRules(verb string, c *container, ports []uint16) string {
	var nat, filter strings.Builder
	for _, port := range ports {
		r := rules(bridged.TCP, c.address.Addr(), fmt.Sprint(port))
		fmt.Fprintf(&nat, "%s %s\n", verb, r[0].text)
		fmt.Fprintf(&filter, "%s %s\n", verb, r[1].text)
	}
	return "*nat\n" + nat.String() + "COMMIT\n*filter\n" + filter.String() + "COMMIT\n"
}
