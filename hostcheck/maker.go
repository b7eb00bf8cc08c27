package hostcheck

import (
	"fmt"
	"strings"

	"github.com/bridged/bridged/nft"
)

// maker is who made a table, and how to let packets of ours through it.
type maker struct {
	// name is as in "Docker Engine, by iptables-nft"; "": not known.
	name string
	// allow are words for the fix, for a bridge that is to be let through.
	allow func(bridge string) string
}

// apart are the commands that leave it to the engine who reaches its own containers: what is accepted in its users' chain is not asked about any
// more. Its bridges are docker0, and br- and the beginning of an id.
func apart(iptables, bridge string) (words string) {
	for _, engines := range []string{"docker0", "br-+"} {
		if bridge != engines && !strings.HasPrefix(bridge, strings.TrimSuffix(engines, "+")) {
			words += fmt.Sprintf(", then `%s -I DOCKER-USER -i %s -o %s -j RETURN`", iptables, bridge, engines)
		}
	}
	return words
}

// makerOf recognises a table by the names of its chains.
func makerOf(t Table, c Chain) maker {
	iptables := "iptables"
	if t.ID.Family == nft.IPv6 {
		iptables = "ip6tables"
	}
	user := iptables + "-nft"
	insert := func(chain string) func(string) string {
		return func(bridge string) string {
			return fmt.Sprintf("`%s -I %s -i %s -j ACCEPT` and `%[1]s -I %[2]s -o %[3]s -j ACCEPT`", iptables, chain, bridge)
		}
	}
	translated := t.ID.Name == "filter" && c.Name == "FORWARD" && t.ID.Family != nft.Inet
	switch {
	case translated && t.ID.Family == nft.Bridge:
		return maker{"ebtables-nft", func(bridge string) string {
			return fmt.Sprintf("`ebtables -I FORWARD --logical-in %s -j ACCEPT`", bridge)
		}}
	case translated && t.has("DOCKER-USER"):
		return maker{"Docker Engine, by " + user, func(bridge string) string {
			return insert("DOCKER-USER")(bridge) + apart(iptables, bridge) + ", or start that engine with `--iptables=false`"
		}}
	case t.has("ufw-") || t.has("ufw6-"):
		return maker{"ufw, by " + user, func(bridge string) string {
			return fmt.Sprintf("`ufw route allow in on %s` and `ufw route allow out on %[1]s`", bridge)
		}}
	case isFirewalld(t):
		return maker{"firewalld", func(bridge string) string {
			return fmt.Sprintf("`firewall-cmd --permanent --zone=trusted --add-interface=%s` and `firewall-cmd --reload`", bridge)
		}}
	case t.ID.Name == "docker-bridges":
		return maker{"Docker Engine, by nftables", nftInsert(t, c)}
	case strings.HasPrefix(t.ID.Name, "libvirt"):
		return maker{"libvirt", nftInsert(t, c)}
	case translated:
		return maker{user, insert(c.Name)}
	}
	return maker{"", nftInsert(t, c)}
}

func nftInsert(t Table, c Chain) func(string) string {
	return func(bridge string) string {
		in, out := "iifname", "oifname"
		if t.ID.Family == nft.Bridge {
			in, out = "ibrname", "obrname"
		}
		return fmt.Sprintf("`nft insert rule %v %s %s %s accept` and `nft insert rule %[1]v %[2]s %[5]s %[4]s accept`, and the same in the file that it is loaded from",
			t.ID, c.Name, in, bridge, out)
	}
}
