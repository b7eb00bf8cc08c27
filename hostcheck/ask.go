package hostcheck

import (
	"errors"
	"fmt"
	"slices"
)

// Ask asks a kernel for one feature: nil when it is present, an error that wraps [ErrAbsent] when it is not, any other when it
// could not be found out. What [Probe] asks is one; tests that want a lesser kernel make another.
type Ask func(FeatureName) error

// Without is a kernel like that of ask which lacks some features, whatever else it has. Features that build on others are not
// left out with them.
func (ask Ask) Without(names ...FeatureName) Ask {
	return func(name FeatureName) error {
		if slices.Contains(names, name) {
			return fmt.Errorf("%w: left out", ErrAbsent)
		}
		return ask(name)
	}
}

// Kernel asks for each feature. The error is of what could not be found out; the features' own answers are in the Kernel in any case.
func (ask Ask) Kernel() (Kernel, error) {
	k := Kernel{Features: features()}
	var errs []error
	for i := range k.Features {
		f := &k.Features[i]
		f.Err = ask(f.Name)
		f.Present = f.Err == nil
		if f.Err != nil && !errors.Is(f.Err, ErrAbsent) {
			errs = append(errs, fmt.Errorf("cannot find out whether the kernel has %s: %w", f.Name, f.Err))
		}
	}
	return k, errors.Join(errs...)
}
