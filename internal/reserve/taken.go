package reserve

import (
	"fmt"
	"sync"

	"github.com/bridged/bridged"
)

// taken is the error of a port that something else has. To find out who takes a look at all files that all processes have open, so that is put off
// until somebody reads the error: where one of many ports would do, most errors are read by nobody.
type taken struct {
	err  error         // of bind(2)
	text func() string // the same each time
}

// newTaken is about p in the network namespace where in runs functions.
func newTaken(p Port, err error, in func(func() error) error) *taken {
	return &taken{err, sync.OnceValue(func() string {
		holder := unknown
		_ = in(func() error { // or it can't be found out
			holder = p.holder()
			return nil
		})
		return fmt.Sprintf("%s is in use by %s: %v", p, holder, err)
	})}
}

func (t *taken) Error() string   { return t.text() }
func (t *taken) Unwrap() []error { return []error{bridged.ErrConflict, t.err} }
