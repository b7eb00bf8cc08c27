package engine

import (
	"maps"
	"strings"

	"github.com/bridged/bridged"
)

// Without a packet filter (--iptables=false) bridges, addresses, routes and reserved ports work; what needs rules is refused, so
// that nobody relies on a fence that is not there.

// needFirewall refuses what needs rules.
func (e *Engine) needFirewall(what string) error {
	if !e.cfg.NoFirewall {
		return nil
	}
	return bridged.Errorf(bridged.ErrConflict, "cannot have %s: the daemon was started with --%s=false, and it needs packet filter rules",
		what, e.cfg.FirewallFlag)
}

// checkFirewallOff refuses to take the rules away from what an earlier run promised.
func (e *Engine) checkFirewallOff() error {
	if !e.cfg.NoFirewall {
		return nil
	}
	var need []string
	for _, p := range sortedPorts(e.index.Ports) {
		need = append(need, "published port "+p.String())
	}
	for _, id := range sortedKeys(e.index.Networks) {
		switch n := e.index.Networks[id]; {
		case n.Internal:
			need = append(need, "internal network "+n.Name)
		case n.Name == bridged.NetworkBridge: // its flags say now what it is
		case !n.ICC && n.Driver == bridged.DriverBridge:
			need = append(need, "network "+n.Name+", which has no ICC")
		case n.SourceGuard && n.Options[bridged.OptionSourceGuard] != "":
			need = append(need, "network "+n.Name+", which has a source guard")
		}
	}
	for _, l := range e.index.linkInfos(maps.Keys(e.index.Links)) {
		need = append(need, "link "+l.ParentName+" -> "+l.ChildName)
	}
	if len(need) == 0 {
		return nil
	}
	return bridged.Errorf(bridged.ErrConflict, "--%s=false would take the rules away that these need: %s; remove them first",
		e.cfg.FirewallFlag, strings.Join(need, ", "))
}
