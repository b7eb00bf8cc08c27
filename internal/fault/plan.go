package fault

import "sync"

// Plan injects one fault, or the same fault again and again. It is safe for concurrent use, by the sockets of many connections.
type Plan struct {
	mu      sync.Mutex
	seen    int
	at      int
	times   int
	make    func(Datagram) (Fault, bool)
	reached int
}

// Arm lets make answer for the datagrams from the nth on that it accepts, which count from 1, until it did so that many times. What was armed
// before is forgotten.
func (p *Plan) Arm(n, times int, make func(Datagram) (Fault, bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen, p.at, p.times, p.make, p.reached = 0, n, times, make, 0
}

// Disarm ends it, and says how often something went wrong.
func (p *Plan) Disarm() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.make = nil
	return p.reached
}

// Inject is the Plan as an [Inject].
func (p *Plan) Inject(d Datagram) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.make == nil || p.reached == p.times {
		return Fault{}
	}
	f, ok := p.make(d)
	if !ok {
		return Fault{}
	}
	if p.seen++; p.seen < p.at {
		return Fault{}
	}
	p.reached++
	return f
}
