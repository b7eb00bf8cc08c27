package hostcheck

import (
	"fmt"

	"github.com/bridged/bridged/nft"
)

// legacy finds rules of iptables-legacy on forwarded packets.
func (h Host) legacy() []Finding {
	var found []Finding
	for _, l := range h.Legacy {
		command := "iptables-legacy"
		if l.Family == nft.IPv6 {
			command = "ip6tables-legacy"
		}
		f := Finding{Kind: LegacyFirewall, Object: command + " FORWARD",
			Fix: fmt.Sprintf("look at `%s -S FORWARD`; let the bridges pass with `%[1]s -I FORWARD -i BRIDGE -j ACCEPT` and `%[1]s -I FORWARD -o BRIDGE -j ACCEPT`, in the chain DOCKER-USER where an engine made one.", command)}
		switch {
		case l.Policy == Drop && !l.Rules:
			f.Severity, f.Title = Problem, "the policy of "+command+" FORWARD is DROP, and no rule comes before it"
			f.Detail = "Packets pass its chain beside those of nf_tables: none is forwarded."
		case l.Policy == Drop:
			f.Severity, f.Title = Warning, "the policy of "+command+" FORWARD is DROP"
			f.Detail = "Packets pass its chain beside those of nf_tables. Whether one of its rules accepts ours before the policy drops them has not been read."
		case l.Rules:
			f.Severity, f.Title = Note, command+" has rules in its chain FORWARD"
			f.Detail = "Packets pass them beside those of nf_tables. What they do has not been read."
		default:
			continue
		}
		found = append(found, f)
	}
	return found
}
