package nft

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long something that must happen may take on a busy machine; nothing that works waits for it.
const patience = 10 * time.Second

// watched is a writer with both tables, and a watcher of them with a receive buffer of that size that does not run yet.
func watched(t *testing.T, buffer int) (*Writer, *Watcher) {
	t.Helper()
	newNamespace(t)
	w := dial(t, Options{Protection: ProtectionMonitor})
	mustCommit(t, w, Diff(Ruleset{}, small()))
	wt, err := w.watch(buffer, smallIDs)
	if err != nil {
		t.Fatal(err)
	}
	return w, wt
}

// Of all that happens, what others do to our tables is told of, and nothing else.
func TestWatcherTellsOfOthers(t *testing.T) {
	w, wt := watched(t, watchBuffer)
	defer wt.conn.Close()
	mine := func() {
		tx := NewTx(inetTable())
		tx.Add(Element{Set: SetID{smallIDs[0], "names"}, Key: Name("mine")})
		mustCommit(t, w, tx)
	}
	nft := func(lines ...string) func() {
		return func() { mustNFT(t, strings.Join(lines, "\n")+"\n", "-f", "-") }
	}
	// In this order, one transaction each.
	steps := []struct {
		name string
		do   func()
		want bool
	}{
		{"an element of ours", mine, false},
		{"a foreign table", nft("add table inet other", "add set inet other names { type ifname; }"), false},
		{"a table of our name in another family", nft("add table ip small"), false},
		{"an element of others in our table", nft("add element inet small names { theirs }"), true},
		{"a rule of others in our table", nft("add rule inet small late accept"), true},
		{"a chain of others in our table", nft("add chain bridge small more"), true},
		{"a foreign element", nft("add element inet other names { theirs }"), false},
		{"a counter of others in our table", nft("add counter inet small hits"), true},
		{"the end of a chain in our table", nft("delete chain bridge small more"), true},
		{"the end of a foreign table", nft("delete table inet other"), false},
		{"the end of our table, among others", nft("delete table ip small", "delete table bridge small"), true},
		{"the end of the other", nft("flush ruleset"), true},
	}
	for _, s := range steps {
		s.do()
	}
	var got []bool
	concerned := false
	wt.conn.SetReadDeadline(time.Now().Add(patience))
	for len(got) < len(steps) {
		messages, err := wt.conn.Receive()
		if err != nil {
			t.Fatalf("after %d transactions: %v", len(got), err)
		}
		for _, m := range messages {
			concerned = concerned || wt.concerns(m)
			if uint16(m.Header.Type)&0xff == unix.NFT_MSG_NEWGEN {
				got, concerned = append(got, concerned), false
			}
		}
	}
	for i, s := range steps {
		if got[i] != s.want {
			t.Errorf("%s: told of: %t", s.name, got[i])
		}
	}
}

// Notifications that were lost may have told of anything: that is a reason to look, as is what comes later.
func TestWatcherAfterLoss(t *testing.T) {
	for _, lossy := range []bool{true, false} {
		t.Run(fmt.Sprint(lossy), func(t *testing.T) {
			buffer := watchBuffer
			if lossy {
				buffer = 4096
			}
			_, wt := watched(t, buffer)
			// Nobody reads meanwhile. It concerns only others.
			mustNFT(t, "add table inet other\nadd set inet other marks { type mark; }\n", "-f", "-")
			var elements []string
			for i := range 2000 {
				elements = append(elements, fmt.Sprint(i))
			}
			mustNFT(t, "add element inet other marks { "+strings.Join(elements, ", ")+" }\n", "-f", "-")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			told, done := make(chan struct{}, 16), make(chan error, 1)
			go func() { done <- wt.Run(ctx, func() { told <- struct{}{} }) }()
			wait := func(what string) {
				t.Helper()
				select {
				case <-told:
				case err := <-done:
					t.Fatalf("%s: %v", what, err)
				case <-time.After(patience):
					t.Fatal(what + " is not told of")
				}
			}
			if lossy {
				wait("the loss")
				for len(told) > 0 { // of what was queued before the loss
					<-told
				}
			}
			mustNFT(t, "add element inet small names { theirs }\n", "-f", "-")
			wait("what came later")
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if !lossy && len(told) > 0 {
				t.Errorf("%d times more told of nothing", len(told))
			}
		})
	}
}

// A watcher ends with its context, also when nothing ever happens.
func TestWatcherEnds(t *testing.T) {
	_, wt := watched(t, watchBuffer)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := wt.Run(ctx, func() { t.Error("told of nothing") }); err != nil {
		t.Error(err)
	}
}
