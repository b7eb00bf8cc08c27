package bridged

import (
	"slices"
	"strings"
	"time"
)

// PruneSpec says which of the networks that nothing is in are meant. The zero value means all of them but those with [LabelDocker], which have to be meant by
// that label: Docker's engine knows them, also while none of its containers runs.
type PruneSpec struct {
	// Labels are KEY or KEY=VALUE: a network must have all of them.
	Labels []string
	// NoLabels are such, too: a network must have none of them.
	NoLabels []string
	// Until: only networks that were created before; the zero time: at any time.
	Until time.Time
}

// Matches reports whether the network is meant. Those that are there from the start never are.
func (s PruneSpec) Matches(n Network) bool {
	lacks := func(label string) bool { return !n.HasLabel(label) }
	kept := n.HasLabel(LabelDocker) && !slices.Contains(s.Labels, LabelDocker)
	return !n.Predefined() && !kept &&
		(s.Until.IsZero() || n.Created.Before(s.Until)) &&
		!slices.ContainsFunc(s.Labels, lacks) && !slices.ContainsFunc(s.NoLabels, n.HasLabel)
}

// LabelDocker is the label of networks that Docker's engine made, as its driver.
const LabelDocker = "bridged.docker"

// HasLabel reports whether the network has a label: KEY with any value, or KEY=VALUE.
func (n Network) HasLabel(label string) bool {
	key, want, exact := strings.Cut(label, "=")
	have, ok := n.Labels[key]
	return ok && (!exact || have == want)
}
