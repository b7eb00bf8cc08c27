package hostcheck

import (
	"fmt"
	"slices"

	"github.com/bridged/bridged/internal/ordered"
)

// Findings judges a host: what gets in the way of packets that our own rules let pass, the worst first. It does nothing but compute.
func Findings(h Host) []Finding {
	all := slices.Concat(
		h.foreignTables(),
		h.chains(),
		h.legacy(),
		h.forwarding(),
		h.rpFilter(),
		h.managers(),
	)
	ordered.SortStable(all, func(a, b Finding) int { return rank(a.Severity) - rank(b.Severity) })
	return all
}

// rank orders severities.
func rank(s Severity) int { return slices.Index([]Severity{Problem, Warning, Note}, s) }

// foreignTables finds tables of our name that belong to another process.
func (h Host) foreignTables() []Finding {
	var found []Finding
	ours := h.Own.tables()
	for _, t := range h.Tables {
		if !ours[t.ID] || t.Owner == "" {
			continue
		}
		found = append(found, Finding{
			Kind: ForeignTable, Severity: Problem, Object: t.ID.String(),
			Title:  fmt.Sprintf("table %v belongs to %s", t.ID, t.Owner),
			Detail: "The kernel lets nobody else change it as long as that process lives.",
			Fix:    "stop that process: two daemons can't share a network namespace.",
		})
	}
	return found
}
