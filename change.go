package bridged

// Change sets objects of a State to new values, all of them or none; a nil value means that the object goes. Its JSON form
// is the record that package store keeps.
type Change struct {
	Networks   map[string]*Network  `json:",omitempty"` // by id
	Sandboxes  map[string]*Sandbox  `json:",omitempty"` // by id
	Endpoints  map[string]*Endpoint `json:",omitempty"` // by id
	Ports      map[Binding]*Port    `json:",omitempty"`
	Links      map[LinkID]*Link     `json:",omitempty"`
	Pools      map[PoolID]*Pool     `json:",omitempty"`
	Forwarding *Forwarding          `json:",omitempty"`

	Reservations map[string]*Reservation `json:",omitempty"` // by id
	Reserved     map[PoolAddr]*Reserved  `json:",omitempty"`
}

// Empty reports whether the change touches nothing.
func (c Change) Empty() bool {
	return len(c.Networks) == 0 && len(c.Sandboxes) == 0 && len(c.Endpoints) == 0 && len(c.Ports) == 0 &&
		len(c.Links) == 0 && len(c.Pools) == 0 && c.Forwarding == nil && len(c.Reservations) == 0 && len(c.Reserved) == 0
}

// HasFiles reports whether the change touches objects that outlive a boot, and have files.
func (c Change) HasFiles() bool { return len(c.Networks)+len(c.Reservations) > 0 }

// Creates reports whether the change makes an object that was not there; inverse is what takes it back.
func (c Change) Creates(inverse Change) bool {
	return creates(c.Networks, inverse.Networks) || creates(c.Sandboxes, inverse.Sandboxes) || creates(c.Endpoints, inverse.Endpoints) ||
		creates(c.Ports, inverse.Ports) || creates(c.Links, inverse.Links) || creates(c.Pools, inverse.Pools) ||
		creates(c.Reservations, inverse.Reservations) || creates(c.Reserved, inverse.Reserved)
}

func creates[K comparable, V any](change, inverse map[K]*V) bool {
	for k, v := range change {
		if v != nil && inverse[k] == nil {
			return true
		}
	}
	return false
}

// Apply makes the change. The maps of s must not be shared with a reader.
func (s *State) Apply(c Change) {
	applyMap(&s.Networks, c.Networks)
	applyMap(&s.Sandboxes, c.Sandboxes)
	applyMap(&s.Endpoints, c.Endpoints)
	applyMap(&s.Ports, c.Ports)
	applyMap(&s.Links, c.Links)
	applyMap(&s.Pools, c.Pools)
	applyMap(&s.Reservations, c.Reservations)
	applyMap(&s.Reserved, c.Reserved)
	if c.Forwarding != nil {
		s.Forwarding = *c.Forwarding
	}
}

func applyMap[K comparable, V any](m *map[K]V, change map[K]*V) {
	if *m == nil && len(change) > 0 {
		*m = make(map[K]V)
	}
	for k, v := range change {
		if v == nil {
			delete(*m, k)
		} else {
			(*m)[k] = *v
		}
	}
}

// Inverse is the change that takes c back: each object that c touches, as it is in s now.
func (s State) Inverse(c Change) Change {
	inv := Change{
		Networks:  inverseMap(s.Networks, c.Networks),
		Sandboxes: inverseMap(s.Sandboxes, c.Sandboxes),
		Endpoints: inverseMap(s.Endpoints, c.Endpoints),
		Ports:     inverseMap(s.Ports, c.Ports),
		Links:     inverseMap(s.Links, c.Links),
		Pools:     inverseMap(s.Pools, c.Pools),

		Reservations: inverseMap(s.Reservations, c.Reservations),
		Reserved:     inverseMap(s.Reserved, c.Reserved),
	}
	if c.Forwarding != nil {
		f := s.Forwarding
		inv.Forwarding = &f
	}
	return inv
}

func inverseMap[K comparable, V any](m map[K]V, change map[K]*V) map[K]*V {
	if len(change) == 0 {
		return nil
	}
	inv := make(map[K]*V, len(change))
	for k := range change {
		if v, ok := m[k]; ok {
			inv[k] = &v
		} else {
			inv[k] = nil
		}
	}
	return inv
}

// Whole is the state as a change: applied to the zero State it gives s.
func (s State) Whole() Change {
	f := s.Forwarding
	return Change{
		Networks:   wholeMap(s.Networks),
		Sandboxes:  wholeMap(s.Sandboxes),
		Endpoints:  wholeMap(s.Endpoints),
		Ports:      wholeMap(s.Ports),
		Links:      wholeMap(s.Links),
		Pools:      wholeMap(s.Pools),
		Forwarding: &f,

		Reservations: wholeMap(s.Reservations),
		Reserved:     wholeMap(s.Reserved),
	}
}

func wholeMap[K comparable, V any](m map[K]V) map[K]*V {
	if len(m) == 0 {
		return nil
	}
	w := make(map[K]*V, len(m))
	for k, v := range m {
		w[k] = &v
	}
	return w
}
