package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/bridged/bridged"
)

// PruneNetworks removes the networks that are meant and that nothing is in, and returns their names. Each is a transaction of its own: one
// that gets a member meanwhile stays, and one that can't be removed does not keep the others.
func (e *Engine) PruneNetworks(ctx context.Context, spec bridged.PruneSpec) ([]string, error) {
	var removed []string
	var failed []error
	for _, n := range e.Networks() {
		if len(n.Members) > 0 || !spec.Matches(n.Network) {
			continue
		}
		switch err := e.RemoveNetwork(ctx, n.ID); {
		case err == nil:
			removed = append(removed, n.Name)
		case errors.Is(err, bridged.ErrConflict), errors.Is(err, bridged.ErrNotFound): // somebody joined it, or was faster
		case errors.Is(err, bridged.ErrUnavailable):
			return removed, errors.Join(append(failed, err)...) // the next ones would not fare better
		default:
			failed = append(failed, fmt.Errorf("cannot remove network %s: %w", n.Name, err))
		}
	}
	return removed, errors.Join(failed...)
}
