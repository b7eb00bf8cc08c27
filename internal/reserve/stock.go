package reserve

import (
	"sync"

	"golang.org/x/sys/unix"
)

// stocked is how many sockets of a kind are made at a time.
const stocked = 16

// Stock has sockets that hold no port yet. A socket is of the network namespace where it was made, and can be bound there by any thread: with one
// from the stock nobody has to find out where the calling thread is, or to go anywhere. The zero Stock is empty. It is safe for concurrent use.
type Stock struct {
	mu      sync.Mutex
	sockets map[species][]int // their descriptors
}

// species is what socket(2) is asked for.
type species struct{ family, kind, proto int }

// Bind is [Bind] with a socket from the stock; nil: there is none, or it can't be bound, and Bind says why.
func (s *Stock) Bind(p Port) *Socket {
	sp, err := p.species()
	if err != nil {
		return nil
	}
	fd, ok := s.take(sp)
	if !ok {
		return nil
	}
	if p.bind(fd) != nil {
		unix.Close(fd)
		return nil
	}
	return &Socket{fd: fd, open: true}
}

func (s *Stock) take(sp species) (fd int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fds := s.sockets[sp]
	if len(fds) == 0 {
		return 0, false
	}
	s.sockets[sp] = fds[:len(fds)-1]
	return fds[len(fds)-1], true
}

// Make is [Bind], and makes sockets for further ports like p, both in the calling thread's network namespace. Where nobody can have such a socket it
// makes none: the kernel looks for a module each time that it is asked for one.
//
// Who has a port that is taken takes milliseconds to find out. It is looked for when the error's text is read first, by a function that in runs in that
// namespace, on any thread.
func (s *Stock) Make(p Port, in func(func() error) error) (*Socket, error) {
	made, err := p.reserve(in)
	if err != nil || !made.open {
		return made, err
	}
	sp, _ := p.species() // Bind had no objection
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fill(sp)
	return made, nil
}

// Refill makes up for the sockets that ports like p have taken, in the calling thread's network namespace. What Make has not made yet it does not make.
func (s *Stock) Refill(p Port) {
	sp, err := p.species()
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, made := s.sockets[sp]; made {
		s.fill(sp)
	}
}

// fill makes sockets unless there are enough. It stops before a descriptor that others need more. The caller holds s.mu.
func (s *Stock) fill(sp species) {
	for len(s.sockets[sp]) < stocked {
		fd, err := sp.socket()
		if err != nil {
			return
		}
		if spare(fd) != nil {
			unix.Close(fd)
			return
		}
		if s.sockets == nil {
			s.sockets = make(map[species][]int)
		}
		s.sockets[sp] = append(s.sockets[sp], fd)
	}
}

// Close closes what is left. The Stock is empty then.
func (s *Stock) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fds := range s.sockets {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	s.sockets = nil
}
