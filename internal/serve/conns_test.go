package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged"
)

// table is a table of connections that are not there: an hour is between each two.
type table struct {
	*conns
	now time.Time
	log strings.Builder
}

func newTable() *table {
	t := &table{now: time.Unix(0, 0)}
	t.conns = newConns(slog.New(slog.NewTextHandler(&t.log, nil)))
	return t
}

// files is how many files may be open, so that there can be 8 connections that wait, and 16 in all.
const files = 16 * connShare

// connect adds a connection of a user that does something.
func (t *table) connect(uid uint32, doing activity) *conn {
	t.now = t.now.Add(time.Hour)
	c := &conn{UnixConn: &net.UnixConn{}, fd: 10, table: t.conns, doing: doing, since: t.now}
	c.peer.UID = uid
	t.add(c, files)
	return c
}

func (t *table) several(n int, uid uint32, doing activity) (all []*conn) {
	for range n {
		all = append(all, t.connect(uid, doing))
	}
	return all
}

// gone are the indexes of the connections that were given up.
func gone(cs []*conn) (indexes []int) {
	for i, c := range cs {
		if c.gone {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// TestWhoIsGivenUp: the oldest that waits, of the user who has most, and what lasts behind what only waits.
func TestWhoIsGivenUp(t *testing.T) {
	const root, alice, mallory = 0, 1000, 1001
	for name, c := range map[string]struct {
		make  func(*table) []*conn
		comes uint32
		want  []int
	}{
		"room for one": {func(x *table) []*conn { return x.several(7, mallory, waiting) }, mallory, nil},
		"full":         {func(x *table) []*conn { return x.several(8, mallory, waiting) }, mallory, []int{0}},
		"some at work": {func(x *table) []*conn {
			return slices.Concat(x.several(8, mallory, working), x.several(7, mallory, waiting))
		}, mallory, nil},
		"most at work": {func(x *table) []*conn {
			return slices.Concat(x.several(13, mallory, working), x.several(3, mallory, waiting))
		}, mallory, []int{13}},
		"followers last": {func(x *table) []*conn {
			return slices.Concat(x.several(7, mallory, lasting), x.several(1, mallory, waiting))
		}, mallory, []int{7}},
		"followers too": {func(x *table) []*conn { return x.several(8, mallory, lasting) }, mallory, []int{0}},
		"who has most": {func(x *table) []*conn {
			return slices.Concat(x.several(3, alice, waiting), x.several(5, mallory, lasting))
		}, alice, []int{3}},
		"not who has less": {func(x *table) []*conn {
			return slices.Concat(x.several(3, alice, waiting), x.several(5, mallory, waiting))
		}, mallory, []int{3}},
		"not at the cost of who has less": {func(x *table) []*conn {
			return slices.Concat(x.several(3, root, waiting), x.several(13, mallory, working))
		}, mallory, nil},
		"root among others": {func(x *table) []*conn {
			return slices.Concat(x.several(4, alice, waiting), x.several(4, mallory, waiting))
		}, root, []int{0}},
		"all at work": {func(x *table) []*conn { return x.several(16, mallory, working) }, root, nil},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTable()
			all := c.make(x)
			comes := x.connect(c.comes, waiting)
			if have := gone(all); !slices.Equal(have, c.want) {
				t.Errorf("given up are %v, want %v", have, c.want)
			}
			for _, i := range c.want {
				if err := all[i].does(working); !errors.Is(err, errGivenUp) {
					t.Errorf("a connection that was given up begins a request: %v", err)
				}
			}
			if refused := comes.refusal != nil; refused != (len(c.want) == 0 && c.comes != root && len(all) == 16) {
				t.Errorf("the new one is refused: %v", comes.refusal)
			}
		})
	}
}

// TestAllAtWork: others are refused, some of them at a time, and root is let in.
func TestAllAtWork(t *testing.T) {
	x := newTable()
	x.several(16, 1000, working)
	refused := x.several(maxRefused+3, 1001, waiting)
	for i, c := range refused {
		if c.refusal == nil || bridged.Code(c.refusal) != "unavailable" || !strings.Contains(c.refusal.Error(), "LimitNOFILE") {
			t.Errorf("number %d: %v", i, c.refusal)
		}
	}
	if have := gone(refused); !slices.Equal(have, []int{0, 1, 2}) {
		t.Errorf("of those that were refused are gone %v", have)
	}
	roots := x.several(rootConns+2, 0, working)
	for i, c := range roots {
		if (c.refusal != nil) != (i >= rootConns) {
			t.Errorf("root's number %d: %v", i, c.refusal)
		}
	}
	if lines := strings.Count(x.log.String(), "\n"); lines != 1 {
		t.Errorf("the log has %d lines:\n%s", lines, x.log.String())
	}
	for c := range x.all {
		c.Close()
		c.Close()
	}
	if len(x.all) != 0 || len(x.users) != 0 || x.refused != 0 || x.working != 0 {
		t.Errorf("what is left: %d, %v, %d, %d", len(x.all), x.users, x.refused, x.working)
	}
}

// TestCrowded: a descriptor with a high number means that few are left, however few connections there are.
func TestCrowded(t *testing.T) {
	x := newTable()
	idle := x.several(3, 0, waiting)
	c := &conn{UnixConn: &net.UnixConn{}, fd: files - files/workShare, table: x.conns}
	x.add(c, files)
	if have := gone(idle); fmt.Sprint(have) != "[0]" || c.refusal != nil {
		t.Errorf("given up are %v, refused: %v", have, c.refusal)
	}
	// What was opened when more files could be is of no use to others.
	for _, o := range idle {
		o.fd = 1 << 30
	}
	if x.giveUp(c) {
		t.Error("a connection was given up for nothing")
	}
	if !x.giveUp(nil) || !c.gone {
		t.Error("the only one that helps was not given up")
	}
}
