package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
)

// iptablesPeers are both variants of iptables, each as a process a rule and as a process a change.
func iptablesPeers() []peer {
	var all []peer
	for _, v := range []struct{ variant, name, restore string }{
		{"nft", report.IPTables, report.Restore},
		{"legacy", report.IPTablesOld, report.RestoreOld},
	} {
		program := "iptables-" + v.variant
		all = append(all, peer{
			name: v.name, what: "two processes a change, a rule each: the translation and the accept, in chains DOCKER",
			find:    tool(program, "iptables", "--version"),
			publish: func(_ *setting, name string) (publisher, error) { return newIPTables(name, program, false) },
		}, peer{
			name: v.restore, what: "one process a change, with both rules: -restore --noflush",
			find:    tool(program+"-restore", "iptables", "--version"),
			publish: func(_ *setting, name string) (publisher, error) { return newIPTables(name, program, true) },
		})
	}
	return all
}

// iptablesPublisher has Docker's two chains in a world: one in the table nat, one in the table filter.
type iptablesPublisher struct {
	w       *world
	program string // iptables-nft or iptables-legacy
	restore bool   // one process for all rules
}

func newIPTables(name, program string, restore bool) (_ *iptablesPublisher, err error) {
	p := &iptablesPublisher{program: program, restore: restore}
	if p.w, err = newWorld(name); err != nil {
		return nil, err
	}
	if err = p.w.bridge(); err == nil {
		err = p.restoring(`*nat
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
COMMIT
*filter
:DOCKER -
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o ` + bridgeName + ` -j DOCKER
COMMIT
`)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// restoring runs iptables-restore, which changes what it is told to and leaves the rest.
func (p *iptablesPublisher) restoring(script string) error {
	_, err := p.w.host.exec(script, p.program+"-restore", "--noflush", "-w")
	return err
}

// rule is one rule of a port, in a table's chain DOCKER.
type rule struct{ table, text string }

// rules are those of a container's port, or of a range of ports, as "8000:8999".
func rules(proto bridged.Proto, inside netip.Addr, ports string) [2]rule {
	container := inside.String()
	to := container
	if !strings.Contains(ports, ":") {
		to += ":" + ports
	}
	return [2]rule{
		{"nat", "DOCKER ! -i " + bridgeName + " -p " + proto.String() + " --dport " + ports + " -j DNAT --to-destination " + to},
		{"filter", "DOCKER -d " + container + "/32 -p " + proto.String() + " --dport " + ports + " -j ACCEPT"},
	}
}

func (p *iptablesPublisher) publish(ports []uint16) op   { return p.change("-A", ports) }
func (p *iptablesPublisher) unpublish(ports []uint16) op { return p.change("-D", ports) }

// publishRange and unpublishRange are of one rule in each table: the port stays what it is.
func (p *iptablesPublisher) publishRange(first, last uint16) op {
	return p.changeRange("-A", first, last)
}
func (p *iptablesPublisher) unpublishRange(first, last uint16) op {
	return p.changeRange("-D", first, last)
}

func (p *iptablesPublisher) changeRange(verb string, first, last uint16) op {
	return func() error { return p.changeRules(verb, []string{fmt.Sprintf("%d:%d", first, last)}) }
}

// callers are processes beside one another.
func (p *iptablesPublisher) callers(n int) ([]caller, error) { return many(p, n), nil }

func (p *iptablesPublisher) change(verb string, ports []uint16) op {
	texts := make([]string, len(ports))
	for i, port := range ports {
		texts[i] = strconv.Itoa(int(port))
	}
	return func() error { return p.changeRules(verb, texts) }
}

// changeRules adds or deletes the rules of these ports: single ones by a process a rule, unless the peer is -restore.
func (p *iptablesPublisher) changeRules(verb string, ports []string) error {
	if len(ports) == 1 && !p.restore {
		for _, r := range rules(p.w.proto, insideAddr.Addr(), ports[0]) {
			args := append([]string{"-w", "-t", r.table, verb}, strings.Fields(r.text)...)
			if _, err := p.w.host.exec("", p.program, args...); err != nil {
				return err
			}
		}
		return nil
	}
	var b strings.Builder
	for i, table := range []string{"nat", "filter"} {
		fmt.Fprintf(&b, "*%s\n", table)
		for _, port := range ports {
			fmt.Fprintf(&b, "%s %s\n", verb, rules(p.w.proto, insideAddr.Addr(), port)[i].text)
		}
		b.WriteString("COMMIT\n")
	}
	return p.restoring(b.String())
}

// held reads what iptables-save prints: nobody else reads the rules of both variants.
func (p *iptablesPublisher) held() (translations, error) {
	out, err := p.w.host.exec("", p.program+"-save", "-t", "nat")
	if err != nil {
		return nil, err
	}
	return savedTranslations(out)
}

// dnatRule is a rule that translates, as iptables-save prints it: of a port or of a range of them, to an address with a port or without.
var dnatRule = regexp.MustCompile(`^-A .*-p (\w+) .*--dport (\d+)(?::(\d+))? -j DNAT --to-destination ([\d.]+)(?::(\d+))?$`)

// savedTranslations are what iptables-save prints. The ports of a range, and one whose rule says no other, stay what they are.
func savedTranslations(saved string) (translations, error) {
	t := make(translations)
	for lines := bufio.NewScanner(strings.NewReader(saved)); lines.Scan(); {
		m := dnatRule.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		proto, err := bridged.ParseProto(m[1])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		numbers := make([]uint16, 3) // the first port, the last, and the container's
		for i, text := range []string{m[2], cmp.Or(m[3], m[2]), cmp.Or(m[5], "0")} {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", lines.Text(), err)
			}
			numbers[i] = uint16(n)
		}
		to, err := netip.ParseAddr(m[4])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		for _, port := range some(int(numbers[0]), int(numbers[1])-int(numbers[0])+1) {
			t[bridged.ProtoPort{Proto: proto, Port: port}] = netip.AddrPortFrom(to, cmp.Or(numbers[2], port))
		}
	}
	return t, nil
}

func (p *iptablesPublisher) world() *world { return p.w }

func (p *iptablesPublisher) close() error { return p.w.close() }
