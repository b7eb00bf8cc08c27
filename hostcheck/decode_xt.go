package hostcheck

import (
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
)

// xtMatch reads a match of iptables.
func (d *decoder) xtMatch(m *expr.Match) error {
	switch m.Name {
	case "comment":
		return nil
	case "conntrack":
		if info, ok := m.Info.(*xt.ConntrackMtinfo3); ok && xt.ConntrackFlags(info.MatchFlags)&^xt.ConntrackStateAlias == xt.ConntrackState {
			if state, ok := xtState(info.StateMask); ok {
				state.Not = xt.ConntrackFlags(info.InvertFlags)&xt.ConntrackState != 0
				d.add(state)
				return nil
			}
		}
	}
	d.other()
	return nil
}

// xtState reads the bits of linux/netfilter/xt_conntrack.h: those of ct state, and above them two that are of the status.
func xtState(mask uint16) (Match, bool) {
	const snat, dnat = 1 << 6, 1 << 7 // XT_CONNTRACK_STATE_…
	switch {
	case mask == dnat:
		return Match{Field: CTStatus, Values: []string{"dnat"}}, true
	case mask == snat:
		return Match{Field: CTStatus, Values: []string{"snat"}}, true
	case mask&^0xf != 0:
		return Match{}, false
	}
	return Match{Field: CTState, Values: bits(CTState, uint32(mask))}, true
}

// xtTarget reads a target of iptables: those that don't end the packet's way are left out.
func (d *decoder) xtTarget(data []byte) {
	switch attribute(data, unix.NFTA_TARGET_NAME) {
	case "REJECT", "TARPIT", "DELUDE":
		d.rule.Verdict = Reject
	case "QUEUE", "NFQUEUE", "SYNPROXY":
		d.rule.Verdict = Undecided
	}
}

// attribute is a string among attributes; "" when it is not there.
func attribute(b []byte, want uint16) string {
	for kind, v := range rtnl.Attributes(b) {
		if kind == want {
			return rtnl.String(v)
		}
	}
	return ""
}
