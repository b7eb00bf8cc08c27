package test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// watchedWorld has a daemon whose tables anybody may change, and a little of everything.
func watchedWorld(t *testing.T) (*world, *daemon) {
	t.Helper()
	w := newWorld(t)
	d := w.daemon("--ipv6", "--protection=monitor")
	if s := decode[statusJSON](w, "status", "--json"); s.Protection != "monitor" {
		t.Fatalf("the tables are protected by %q", s.Protection)
	}
	w.populate()
	return w, d
}

// repairs is how many repairs there were. Those that were begun are waited for.
func (w *world) repairs() int {
	w.t.Helper()
	w.settled()
	return decode[statusJSON](w, "status", "--json").Repairs
}

// Whatever others do to our tables, it is undone by one transaction, so that no packet meets the one half without the other; and by one
// repair that is counted. That goes for what they add to our tables, too: these are a program, which does what it says or
// something else.
func TestRepairIsOneTransaction(t *testing.T) {
	w, _ := watchedWorld(t)
	before := w.filter()
	g := w.generations()
	for n, damage := range []struct {
		commands string
		// tables is how many are made anew.
		tables int
	}{
		{"flush ruleset", 2},
		{"delete table inet bridged", 1},
		{"delete table bridge bridged", 1},
		{"flush table inet bridged", 0},
		{"flush chain inet bridged forward", 0},
		{"flush set inet bridged internal", 0},
		{"flush map inet bridged publish4any\nflush map inet bridged publish6any\nflush set bridge bridged macs", 0},
		{"insert rule inet bridged forward accept", 0},
		{"add element inet bridged publish4any { tcp . 99 : 10.0.0.1 . 99 }", 0},
		{"add chain inet bridged mine\nadd rule inet bridged mine accept\ninsert rule inet bridged forward jump mine", 0},
		{"add chain inet bridged early { type filter hook forward priority -200; }\nadd rule inet bridged early accept", 0},
		{"add set inet bridged mine { type ifname; }", 0},
		{"add counter inet bridged mine", 1},
		{"add chain inet bridged forward { policy drop; }", 1},
		{"delete table inet bridged\nadd table inet bridged\nadd chain inet bridged forward", 0},
	} {
		g.take(t)
		w.host.Input(t, damage.commands+"\n", "nft", "-f", "-")
		w.await(t, "the repair of: "+damage.commands, func() bool { return w.filter() == before })
		if got := w.repairs(); got != n+1 {
			t.Fatalf("%s: %d repairs, want %d", damage.commands, got, n+1)
		}
		all := g.take(t)
		if len(all) != 2 {
			t.Fatalf("%s: %d transactions, the damage included: %v", damage.commands, len(all), all)
		}
		b := all[1]
		if b["new table"] < damage.tables || damage.tables > 0 && (b["new chain"] == 0 || b["new rule"] == 0 || b["new element"] == 0) {
			t.Errorf("%s: the repair was %v, want %d tables with all in them", damage.commands, b, damage.tables)
		}
	}
}

// What others add beside our tables stays, is no reason for a repair, and outlives one.
func TestRepairLeavesOthersAlone(t *testing.T) {
	w, _ := watchedWorld(t)
	before := w.filter()
	w.host.Input(t, foreignRules, "nft", "-f", "-") // begins with a flush
	w.await(t, "the repair", func() bool { return w.filter() == before })
	if n := w.repairs(); n != 1 {
		t.Fatalf("%d repairs", n)
	}
	g := w.generations()
	theirs := []string{
		"add table ip bridged", // the name alone is not ours
		"add chain ip bridged forward { type filter hook forward priority 0; }",
		"add rule ip bridged forward counter comment theirs",
		"add rule inet firewall input tcp dport 8080 counter comment theirs",
		"add element inet firewall allowed { 8080 }",
		"add table bridge other",
		"add table arp other",
	}
	for _, c := range theirs {
		w.host.Output(t, "nft", strings.Fields(c)...)
	}
	list := func() string {
		all := ""
		for _, table := range []string{"ip bridged", "inet firewall", "bridge other", "arp other"} {
			all += w.nft(append([]string{"list", "table"}, strings.Fields(table)...)...)
		}
		return all
	}
	have := list()
	w.host.Output(t, "nft", "flush", "chain", "inet", "bridged", "forward")
	w.await(t, "the repair", func() bool { return w.filter() == before })
	if n := w.repairs(); n != 2 {
		t.Errorf("%d repairs: what others do among themselves is no reason for one", n)
	}
	if all := g.take(t); len(all) != len(theirs)+2 {
		t.Errorf("%d transactions, want %d by others, the damage and its repair: %v", len(all), len(theirs), all)
	}
	same(t, "what others have", have, list())
}

// Damage that comes faster than it can be looked at is repaired at one go.
func TestBurstIsOneRepair(t *testing.T) {
	w, d := watchedWorld(t)
	before := w.filter()
	g := w.generations()
	d.Freeze()
	const damages = 100
	for i := range damages {
		if i%2 == 0 {
			w.host.Output(t, "nft", "flush", "ruleset")
		} else { // what there is to flush again
			w.host.Input(t, "add table inet bridged\nadd chain inet bridged forward\nadd rule inet bridged forward accept\n", "nft", "-f", "-")
		}
	}
	d.Cmd.Process.Signal(syscall.SIGCONT)
	w.await(t, "the repair", func() bool { return w.filter() == before })
	if n := w.repairs(); n != 1 {
		t.Errorf("%d repairs", n)
	}
	if all := g.take(t); len(all) != damages+1 {
		t.Errorf("%d transactions, want the %d of the damage and one", len(all), damages)
	}
	// The same while the daemon runs, by many at a time: how many repairs that takes is a matter of speed.
	var vandals sync.WaitGroup
	for range 4 {
		vandals.Go(func() {
			for range 25 {
				if err := w.host.Do(exec.Command("nft", "flush", "ruleset").Run); err != nil {
					t.Error(err)
				}
			}
		})
	}
	vandals.Wait()
	w.await(t, "the repair", func() bool { return w.filter() == before })
	t.Logf("%d flushes led to %d repairs", damages, w.repairs()-1)
}

// Requests go on while others flush: each is done or it is refused, with a reason to try again; and in the end all is as was said.
func TestRequestsWhileFlushed(t *testing.T) {
	w, _ := watchedWorld(t)
	var vandal, clients sync.WaitGroup
	vandal.Go(func() {
		for range 40 {
			if err := w.host.Do(exec.Command("nft", "flush", "ruleset").Run); err != nil {
				t.Error(err)
			}
		}
	})
	var refused, done atomic.Int32
	for c := range 3 {
		clients.Go(func() {
			own := strings.NewReplacer("NN", fmt.Sprintf("%02d", c), "NAME", fmt.Sprintf("busy%d", c))
			for _, args := range []string{
				"sandbox create -p 7NN1:80 NAME", "port add NAME 8NN0-8NN9:90-99", "port rm NAME 8NN0-8NN9:90-99", "sandbox rm NAME",
				"network create --internal NAME", "network rm NAME",
			} {
				command := strings.Fields(own.Replace(args))
				end := flowtest.Deadline()
				for r := w.try(command...); r.code != 0; r = w.try(command...) {
					refused.Add(1)
					if !strings.Contains(r.stderr, "try again") || time.Now().After(end) {
						t.Errorf("refused for another reason, or for ever: %v", r)
						return
					}
				}
				done.Add(1)
			}
		})
	}
	clients.Wait()
	vandal.Wait()
	t.Logf("%d requests were done, %d times one was refused", done.Load(), refused.Load())
	w.await(t, "the last repair", func() bool { return w.try("ruleset", "--diff").code == 0 })
	w.bridged("sandbox", "rm", "c6") // it has no namespace of its own
	w.consistent(t)
	flowtest.Serve(t, w.sandbox("c1"), 80)
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "c1")
}

// A daemon starts while others flush: nothing is refused for that.
func TestStartWhileFlushed(t *testing.T) {
	protections(t, func(t *testing.T, flag string) {
		w := newWorld(t)
		d := w.daemon("--ipv6", flag)
		w.populate()
		before := w.filter()
		stop := make(chan struct{})
		var vandal sync.WaitGroup
		vandal.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := w.host.Do(exec.Command("nft", "flush", "ruleset").Run); err != nil {
					t.Error(err)
				}
			}
		})
		for range 5 {
			d.Kill()
			d = w.daemon("--ipv6", flag)
		}
		close(stop)
		vandal.Wait()
		w.await(t, "the last repair", func() bool { return w.filter() == before })
		w.settled()
	})
}
