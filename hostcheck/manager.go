package hostcheck

import (
	"slices"
)

// managers finds programs that manage the firewall and don't know of us.
func (h Host) managers() []Finding {
	var found []Finding
	if slices.ContainsFunc(h.Tables, isUFW) {
		found = append(found, Finding{
			Kind: FirewallManager, Severity: Note, Object: "ufw",
			Title:  "ufw is active",
			Detail: "Packets to published ports are forwarded, not received by the host: what ufw says about incoming connections does not close a published port.",
			Fix:    "`ufw route` is about forwarded packets; or publish on 127.0.0.1.",
		})
	}
	if slices.ContainsFunc(h.Tables, isFirewalld) {
		found = append(found, Finding{
			Kind: FirewallManager, Severity: Note, Object: "firewalld",
			Title:  "firewalld is active",
			Detail: "Packets to published ports are forwarded, not received by the host: services and ports of its zones are not about them. A bridge that is in no zone is in the default zone.",
			Fix:    "put the bridges into a zone, with `firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE` as an example; or publish on 127.0.0.1.",
		})
	}
	return found
}

// isFirewalld knows both of its backends, nftables and iptables.
func isFirewalld(t Table) bool {
	return t.ID.Name == "firewalld" || t.has("FORWARD_direct") || t.has("FWDI_")
}

func isUFW(t Table) bool { return t.has("ufw-user-") || t.has("ufw6-user-") }
