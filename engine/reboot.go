package engine

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/bridged/bridged"
)

// dropFormer removes the paths of namespaces that we made in the last boot. The namespaces ended with it; the paths are still there where
// /run outlives a boot. What somebody else has put there since is left alone.
func (e *Engine) dropFormer() error {
	var errs []error
	for _, s := range e.store.Former() {
		if !s.Made {
			continue
		}
		s.NSID = bridged.NamespaceID{} // numbers and cookies come back with a boot: the mark alone tells
		for _, path := range []string{filepath.Join(namespaceDir, s.Name), lastingPath(s)} {
			errs = append(errs, e.host.removeNamespace(s, path))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot remove a namespace of the last boot: %w", err)
	}
	return e.store.ForgetFormer()
}
