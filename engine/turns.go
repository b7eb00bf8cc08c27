package engine

import "runtime"

// turns are for requests that take microseconds: from the change of the state to the kernel's answer, so many are under way at a time, and the others wait
// in the order in which they came. Without them a caller that never has to wait would keep its processor for a time slice of the scheduler, 10 ms, while
// the others stand still.
type turns chan struct{}

// turnsEach is how many there are for each processor: with more, those that have one wait for each other, and some of them long.
const turnsEach = 1

func newTurns() turns { return make(turns, turnsEach*runtime.GOMAXPROCS(0)) }

// take waits for a turn.
func (t turns) take() *turn {
	t <- struct{}{}
	return &turn{turns: t}
}

// turn is one that was taken.
type turn struct {
	turns turns
	over  bool
}

// end gives the turn back; a second end does nothing.
func (t *turn) end() {
	if !t.over {
		t.over = true
		<-t.turns
	}
}

// quick says whether the plan is done within a turn: it is a transaction at most, and what is handed over.
func (p Plan) quick() bool {
	for _, s := range p {
		switch s.(type) {
		case commit, delPair, delShaper, endFlows:
		default:
			return false
		}
	}
	return true
}
