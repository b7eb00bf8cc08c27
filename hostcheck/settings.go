package hostcheck

import (
	"fmt"
	"slices"

	"github.com/bridged/bridged/nft"
)

// forwarding finds a host that will not forward.
func (h Host) forwarding() []Finding {
	if !h.Own.NoForwarding {
		return nil
	}
	var found []Finding
	for _, f := range []struct {
		family nft.Family
		on     bool
		name   string
		sysctl string
	}{{nft.IPv4, h.Forwarding4, "IPv4", forwarding4}, {nft.IPv6, h.Forwarding6, "IPv6", forwarding6}} {
		wanted := slices.ContainsFunc(h.Own.Bridges, func(b OwnBridge) bool { return b.speaks(f.family) })
		if len(h.Own.Bridges) == 0 {
			wanted = f.family == nft.IPv4
		}
		if f.on || !wanted {
			continue
		}
		found = append(found, Finding{
			Kind: NoForwarding, Severity: Problem, Object: f.sysctl,
			Title:  "the host does not forward " + f.name,
			Detail: fmt.Sprintf("The sysctl %s is 0, and --ip-forward=false leaves it so: containers reach the host and their own bridge, and nothing else.", f.sysctl),
			Fix:    fmt.Sprintf("`sysctl -w %s=1`, or start without --ip-forward=false.", f.sysctl),
		})
	}
	return found
}

// rpFilter finds interfaces where the reverse path is checked strictly and more than one path is right: bridges, because of
// sandboxes in two networks, and uplinks when there are several. The kernel takes the larger of an interface's value and that
// of "all".
func (h Host) rpFilter() []Finding {
	var names []string
	for _, b := range h.Own.Bridges {
		names = append(names, b.Name)
	}
	if len(h.Uplinks) > 1 {
		names = append(names, h.Uplinks...)
	}
	var found []Finding
	for _, name := range names {
		own, known := h.RPFilter[name]
		if !known || max(own, h.RPFilter["all"]) != 1 {
			continue
		}
		sysctl := "net/ipv4/conf/" + name + "/rp_filter"
		found = append(found, Finding{
			Kind: StrictRPFilter, Severity: Warning, Object: sysctl,
			Title:  "the reverse path filter of " + name + " is strict",
			Detail: "The kernel drops what comes in there from a source that it would answer by another interface: replies to published ports and packets of containers with two networks among it.",
			Fix:    fmt.Sprintf("`sysctl -w %s=2`: loose, the larger of this value and that of \"all\" counts.", sysctl),
		})
	}
	return found
}
