package engine

import (
	"fmt"
	"maps"
	"slices"
)

// An unmended is what could not be made as wanted: on a sandbox's link, whose namespace is not ours to rule, or on a bridge that was given. `status`
// warns of it until it is mended; the next sweep has another look at it.
type unmended struct {
	warning string
	// waits: not before the next sweep, because what the kernel tells is of the attempt: a container that has something in the way of its link would
	// keep the daemon and the host's links busy.
	waits bool
}

// leaveUnmended notes what could not be mended. It is in the log once.
func (e *Engine) leaveUnmended(s suspicion, err error, waits bool) {
	left := &unmended{fmt.Sprintf("a sandbox or a given bridge is not as it should be: %v", err), waits}
	e.mu.Lock()
	before := e.unmended[s]
	e.unmended[s] = left
	e.mu.Unlock()
	if before == nil || before.warning != left.warning {
		e.log.Warn(left.warning)
	}
}

// mended forgets what was unmended before a repair, and was not left again by it.
func (e *Engine) mended(before map[suspicion]*unmended) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s, left := range before {
		if e.unmended[s] == left {
			delete(e.unmended, s)
		}
	}
}

// dueAgain is what another attempt is due for. What went with its sandbox is forgotten.
func (e *Engine) dueAgain() []suspicion {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s, left := range e.unmended {
		left.waits = false
		if _, there := e.concerned(s); !there {
			delete(e.unmended, s)
		}
	}
	return slices.Collect(maps.Keys(e.unmended))
}

// unmendedWarnings are for `status`.
func (e *Engine) unmendedWarnings() (warnings []string) {
	for _, left := range e.unmended {
		warnings = append(warnings, left.warning)
	}
	slices.Sort(warnings)
	return slices.Compact(warnings)
}
