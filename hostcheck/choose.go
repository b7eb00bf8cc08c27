package hostcheck

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrNoneFree says that every candidate was refused.
var ErrNoneFree = errors.New("no candidate is free")

// Skipped is a candidate that was not chosen.
type Skipped struct {
	Candidate netip.Prefix
	// Reason is what the check said.
	Reason error
}

// String is as in "10.0.42.1/16: requested network 10.0.0.0/16 overlaps with route 10.0.0.0/8 dev tun0".
func (s Skipped) String() string { return fmt.Sprintf("%v: %v", s.Candidate, s.Reason) }

// Choose is the first candidate that check does not refuse, as it was given, and those before it with the reason. When all are
// refused the error is [ErrNoneFree]. What overlaps is asked with [Taken.Check].
func Choose(candidates []netip.Prefix, check func(netip.Prefix) error) (chosen netip.Prefix, skipped []Skipped, err error) {
	for _, c := range candidates {
		reason := check(c)
		if reason == nil {
			return c, skipped, nil
		}
		skipped = append(skipped, Skipped{c, reason})
	}
	return netip.Prefix{}, skipped, ErrNoneFree
}
