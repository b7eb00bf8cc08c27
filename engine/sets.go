package engine

import (
	"iter"
	"maps"
)

// sets are sets by key, for keys that have one member as a rule: such a set is no map of its own.
type sets[K, T comparable] struct {
	one  map[K]T
	more map[K]map[T]struct{} // those that have, or had, several
}

// newSets has room for this many sets.
func newSets[K, T comparable](n int) sets[K, T] {
	return sets[K, T]{one: make(map[K]T, n), more: make(map[K]map[T]struct{})}
}

func (s sets[K, T]) enter(key K, v T) {
	if set, several := s.more[key]; several {
		set[v] = struct{}{}
		return
	}
	if first, there := s.one[key]; there && first != v {
		delete(s.one, key)
		s.more[key] = map[T]struct{}{first: {}, v: {}}
		return
	}
	s.one[key] = v
}

func (s sets[K, T]) leave(key K, v T) {
	if _, several := s.more[key]; several {
		leave(s.more, key, v)
	} else if s.one[key] == v {
		delete(s.one, key)
	}
}

// of is the set of a key.
func (s sets[K, T]) of(key K) iter.Seq[T] {
	if set, several := s.more[key]; several {
		return maps.Keys(set)
	}
	return func(yield func(T) bool) {
		if v, there := s.one[key]; there {
			yield(v)
		}
	}
}
