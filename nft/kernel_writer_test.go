package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func dial(t *testing.T, opts Options) *Writer {
	t.Helper()
	w, err := Dial(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func mustCommit(t rapid.TB, w *Writer, tx *Tx) {
	t.Helper()
	if err := w.Commit(context.Background(), tx); err != nil {
		t.Fatalf("%v\n%s", err, tx)
	}
}

func mustObserve(t rapid.TB, w *Writer, ids ...TableID) Ruleset {
	t.Helper()
	rs, err := w.Observe(context.Background(), ids...)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// small is both tables with an element in most sets, and intervals that touch, that are single values, and that go to the end.
func small() Ruleset {
	rs := Ruleset{Tables: []Table{inetTable(), bridgeTable()}, Elements: make(Elements)}
	inet, bridge := rs.Tables[0].ID, rs.Tables[1].ID
	add := func(id TableID, set string, key, end, data Value) {
		rs.Elements[Element{Set: SetID{id, set}, Key: key, End: end, Data: data}] = struct{}{}
	}
	none := Value{}
	eth0, tcp, port := Name("eth0"), Byte(6), Port(8080)
	addr4, addr6 := Addr(netip.MustParseAddr("172.17.0.2")), Addr(netip.MustParseAddr("fd00::2"))
	add(inet, "names", eth0, none, none)
	add(inet, "names", Name("fifteen-letters"), none, none)
	add(inet, "pairs", Concat(eth0, eth0), none, none)
	add(inet, "services", Concat(eth0, tcp, port), none, none)
	add(inet, "families", Byte(10), none, none)
	add(inet, "ports", Port(7), Port(7), none)
	add(inet, "ports", Port(8), Port(10), none)
	add(inet, "ports", Port(32768), Port(65535), none)
	for _, p := range []string{"0.0.0.0/8", "10.0.0.0/8", "11.0.0.0/8", "172.17.0.2/32", "255.0.0.0/8"} {
		first, last := Prefix(netip.MustParsePrefix(p))
		add(inet, "prefixes4", first, last, none)
		add(inet, "trusted4", Concat(eth0, first), Concat(eth0, last), none)
		add(inet, "allowed4", Concat(addr4, tcp, port, first), Concat(addr4, tcp, port, last), none)
	}
	for _, p := range []string{"::/8", "fd00::/64", "fd00:0:0:1::/64", "ff00::/8"} {
		first, last := Prefix(netip.MustParsePrefix(p))
		add(inet, "prefixes6", first, last, none)
		add(inet, "trusted6", Concat(eth0, first), Concat(eth0, last), none)
	}
	add(inet, "links6", Concat(addr6, addr6, tcp, port), none, none)
	add(inet, "exact", Mark(0x100), none, none)
	add(inet, "snat4", eth0, none, addr4)
	add(inet, "snat6", eth0, none, addr6)
	add(inet, "publish4", Concat(addr4, tcp, port), none, Concat(addr4, Port(80)))
	add(inet, "publish6", Concat(tcp, port), none, Concat(addr6, Port(80)))
	mac := MAC([6]byte{2, 66, 172, 17, 0, 2})
	add(bridge, "ports", eth0, none, none)
	add(bridge, "macs", Concat(eth0, mac), none, none)
	add(bridge, "source4", Concat(eth0, mac, addr4), none, none)
	add(bridge, "source6", Concat(eth0, mac, addr6), none, none)
	add(bridge, "targets6", Concat(eth0, addr6), none, none)
	return rs
}

var smallIDs = []TableID{{Inet, "small"}, {Bridge, "small"}}

func TestLoadAndObserve(t *testing.T) {
	for _, protection := range []string{ProtectionOwner, ProtectionMonitor} {
		t.Run(protection, func(t *testing.T) {
			newNamespace(t)
			w := dial(t, Options{Protection: protection})
			mustCommit(t, w, Diff(Ruleset{}, small()))
			if w.Transactions() != 1 {
				t.Errorf("%d transactions", w.Transactions())
			}
			got := mustObserve(t, w, smallIDs...)
			mustBe(t, "what was loaded", got, small())
			for _, table := range got.Tables {
				if table.Foreign != nil {
					t.Errorf("foreign in our own table: %v", table.Foreign)
				}
			}
			again := mustObserve(t, w, TableID{Inet, "missing"}, smallIDs[1])
			if len(again.Tables) != 1 || again.Tables[0].ID != smallIDs[1] {
				t.Errorf("observed %v", again)
			}
		})
	}
}

// The nft binary reads what we wrote, and writes what we read.
func TestSameAsTheNFTBinary(t *testing.T) {
	newNamespace(t)
	w := dial(t, Options{Protection: ProtectionMonitor})
	tx := Diff(Ruleset{}, small())
	mustCommit(t, w, tx)
	ours := mustNFT(t, "", "-s", "list", "ruleset")

	newNamespace(t)
	mustNFT(t, tx.String(), "-f", "-")
	w = dial(t, Options{Protection: ProtectionMonitor})
	mustBe(t, "what nft loaded", mustObserve(t, w, smallIDs...), small())
	if theirs := mustNFT(t, "", "-s", "list", "ruleset"); sortedLines(theirs) != sortedLines(ours) {
		t.Errorf("we loaded\n%s\nnft -f loaded\n%s", ours, theirs)
	}
	undo := Diff(small(), Ruleset{Tables: small().Tables})
	mustNFT(t, undo.String(), "-f", "-")
	if rs := mustObserve(t, w, smallIDs...); len(rs.Elements) != 0 {
		t.Errorf("left after nft -f of\n%s\n%s", undo, rs)
	}
}

// sortedLines makes lists comparable: concatenations with intervals and hash tables have no order. Signs between elements go.
func sortedLines(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == ',' || r == '{' || r == '}' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestOwnership(t *testing.T) {
	newNamespace(t)
	ctx := context.Background()
	first := dial(t, Options{})
	if first.Protection() != ProtectionOwner {
		t.Skip("this kernel has no table flags owner and persist")
	}
	mustCommit(t, first, Diff(Ruleset{}, small()))
	mustNFT(t, "", "flush", "ruleset")
	if out, err := nftTool(t, "", "delete", "table", "inet", "small"); err == nil {
		t.Errorf("nft deleted our table: %s", out)
	}
	mustBe(t, "after nft flush ruleset", mustObserve(t, first, smallIDs...), small())

	second := dial(t, Options{})
	for what, err := range map[string]error{
		"adopt":  second.Adopt(ctx, smallIDs),
		"commit": second.Commit(ctx, Diff(small(), Ruleset{Tables: small().Tables})),
		"delete": second.Commit(ctx, Diff(small(), Ruleset{})),
	} {
		mustFail(t, what, err, ErrOwned)
		mustFail(t, what, err, unix.EPERM)
		if err != nil && !strings.Contains(err.Error(), "small") || !strings.Contains(err.Error(), "another daemon is running") {
			t.Errorf("%s: %v", what, err)
		}
	}
	mustFail(t, "close", first.Close(), nil)
	before := second.Transactions()
	mustFail(t, "adopt the orphans", second.Adopt(ctx, append(smallIDs, TableID{Inet, "missing"})), nil)
	mustBe(t, "after the adoption", mustObserve(t, second, smallIDs...), small())
	mustFail(t, "adopt again", second.Adopt(ctx, smallIDs), nil)
	if n := second.Transactions() - before; n != 1 {
		t.Errorf("the adoption took %d transactions", n)
	}
	mustNFT(t, "", "flush", "ruleset")
	mustBe(t, "after another flush", mustObserve(t, second, smallIDs...), small())
	if out := mustNFT(t, "", "list", "tables"); strings.Contains(out, "missing") {
		t.Errorf("a table that was not there was adopted: %s", out)
	}
}

// A table that was made with other flags, whoever made it, is replaced as a whole in one transaction.
func TestProtectionChanges(t *testing.T) {
	newNamespace(t)
	for i, protection := range []string{ProtectionMonitor, ProtectionOwner, ProtectionMonitor} {
		w := dial(t, Options{Protection: protection})
		mustFail(t, "adopt", w.Adopt(context.Background(), smallIDs), nil)
		have := mustObserve(t, w, smallIDs...)
		if i > 0 && (len(have.Tables) != 2 || have.Tables[0].Foreign == nil) {
			t.Errorf("%s: the tables of before are not foreign", protection)
		}
		mustCommit(t, w, Diff(have, small()))
		mustBe(t, protection, mustObserve(t, w, smallIDs...), small())
		if w.Transactions() != 1 {
			t.Errorf("%s: %d transactions", protection, w.Transactions())
		}
		mustFail(t, "close", w.Close(), nil)
	}
}

// Whatever others do to an orphan is seen and undone.
func TestEditedByOthers(t *testing.T) {
	for _, edit := range []string{
		"insert rule inet small guard accept",
		"add rule inet small inside tcp dport 22 log accept",
		"add rule inet small inside meta cpu 1 accept",
		"flush chain inet small guard",
		"add chain inet small extra",
		"add chain inet small extra { type filter hook input priority 0; policy drop; }",
		"add chain inet small late { policy drop; }",
		"delete rule bridge small port handle HANDLE\nflush chain bridge small from-ip\ndelete chain bridge small from-ip",
		"add set inet small extra { type mark; timeout 1h; }",
		"add set inet small extra { type inet_service; size 5; }",
		"add map inet small extra { type inet_service : verdict; }",
		"add map inet small extra { type inet_service : verdict; elements = { 80 : jump inside } }",
		"add counter inet small extra\nadd rule inet small inside counter name extra",
		"add element inet small names { eth1 }",
		"delete element inet small prefixes4 { 10.0.0.0/8 }",
		"delete element inet small snat4 { eth0 }\nadd element inet small snat4 { eth0 : 1.2.3.4 }",
		"flush map inet small publish4",
		"add table inet small { flags dormant; }",
		"delete table bridge small",
		"flush ruleset",
	} {
		t.Run(edit, func(t *testing.T) {
			newNamespace(t)
			first := dial(t, Options{Protection: ProtectionMonitor})
			mustCommit(t, first, Diff(Ruleset{}, small()))
			edit = strings.Replace(edit, "HANDLE", verdictMapHandle(t), 1)
			mustNFT(t, edit+"\n", "-f", "-")
			have := mustObserve(t, first, smallIDs...)
			tx := Diff(have, small())
			if tx.Empty() {
				t.Fatalf("not seen in\n%s", have)
			}
			mustCommit(t, first, tx)
			mustBe(t, "the repaired ruleset", mustObserve(t, first, smallIDs...), small())
			if out := mustNFT(t, "", "list", "ruleset"); strings.Contains(out, "extra") {
				t.Errorf("left over:\n%s", out)
			}
		})
	}
}

// verdictMapHandle is the handle of the rule with the verdict map.
func verdictMapHandle(t *testing.T) string {
	for line := range strings.Lines(mustNFT(t, "", "-a", "list", "chain", "bridge", "small", "port")) {
		if _, handle, ok := strings.Cut(line, "# handle "); ok && strings.Contains(line, "vmap") {
			return strings.TrimSpace(handle)
		}
	}
	t.Fatal("no rule has a verdict map")
	return ""
}

// Elements that stay are not touched when the program is replaced: their counters go on.
func TestReplacedProgramKeepsElements(t *testing.T) {
	newNamespace(t)
	w := dial(t, Options{Protection: ProtectionMonitor})
	mustCommit(t, w, Diff(Ruleset{}, small()))
	mustNFT(t, "delete element inet small publish6 { tcp . 8080 }\n"+
		"add element inet small publish6 { tcp . 8080 counter packets 7 bytes 700 : fd00::2 . 80 }\n", "-f", "-")
	want := small()
	want.Tables[0].Chains = want.Tables[0].Chains[:len(want.Tables[0].Chains)-1]
	want.Tables[0].Chains[0].Rules = want.Tables[0].Chains[0].Rules[1:]
	want.Tables[0].Sets = append(want.Tables[0].Sets, Set{Name: "new", Key: []Type{TypePort}, Size: 16})
	mustCommit(t, w, Diff(mustObserve(t, w, smallIDs...), want))
	mustBe(t, "the new program", mustObserve(t, w, smallIDs...), want)
	if out := mustNFT(t, "", "list", "map", "inet", "small", "publish6"); !strings.Contains(out, "packets 7 bytes 700") {
		t.Errorf("the counter is gone:\n%s", out)
	}
}

func TestRandomChanges(t *testing.T) {
	newNamespace(t)
	drawsTheSame(t, 100)
	w := dial(t, Options{})
	ids := []TableID{{Inet, "one"}, {Bridge, "one"}}
	mustBe(t, "nothing", mustObserve(t, w, ids...), Ruleset{})
	rapid.Check(t, func(t *rapid.T) {
		want := drawRuleset(t, "want")
		mustCommit(t, w, Diff(mustObserve(t, w, ids...), want))
		mustBe(t, "the kernel", mustObserve(t, w, ids...), want)
	})
}

func TestKernelErrors(t *testing.T) {
	newNamespace(t)
	w := dial(t, Options{})
	id := TableID{Inet, "t"}
	tx := NewTx()
	table := Table{ID: id, Sets: []Set{
		{Name: "few", Key: []Type{TypePort}, Data: []Type{TypePort}, Size: 2},
		{Name: "prefixes", Key: []Type{TypeIPv4}, Interval: true},
	}}
	tx.AddTable(table)
	mustCommit(t, w, tx)
	entry := func(set string, key, end, data Value) Element {
		return Element{Set: SetID{id, set}, Key: key, End: end, Data: data}
	}
	first, last := Prefix(netip.MustParsePrefix("10.0.0.0/8"))
	inner, innerLast := Prefix(netip.MustParsePrefix("10.1.0.0/16"))
	add := func(es ...Element) *Tx {
		tx := NewTx(table)
		for _, e := range es {
			tx.Add(e)
		}
		return tx
	}
	remove := NewTx(table)
	remove.Delete(entry("few", Port(5), Value{}, Port(1)))
	mustCommit(t, w, add(entry("few", Port(1), Value{}, Port(1)), entry("prefixes", first, last, Value{})))
	for _, c := range []struct {
		what string
		tx   *Tx
		want unix.Errno
		text string
	}{
		{"twice", add(entry("few", Port(1), Value{}, Port(1))), unix.EEXIST, "cannot add element inet t few { 1 : 1 }: file exists"},
		{"other data", add(entry("few", Port(1), Value{}, Port(2))), unix.EEXIST, ""},
		{"overlap", add(entry("prefixes", inner, innerLast, Value{})), unix.EEXIST,
			"cannot add element inet t prefixes { 10.1.0.0/16 }: file exists"},
		{"missing", remove, unix.ENOENT, "cannot delete element inet t few { 5 }: no such file or directory"},
		{"full", add(entry("few", Port(2), Value{}, Port(1)), entry("few", Port(3), Value{}, Port(1)), entry("few", Port(4), Value{}, Port(1))),
			unix.ENFILE, "cannot add element inet t few: too many open files in system: the set is full"},
		{"no set", add(entry("missing", Port(1), Value{}, Value{})), unix.ENOENT, ""},
		{"no table", add(Element{Set: SetID{TableID{Inet, "missing"}, "s"}, Key: Port(1)}), unix.ENOENT, ""},
		{"short key", add(entry("few", Byte(1), Value{}, Port(1))), unix.EINVAL, ""},
	} {
		err := w.Commit(context.Background(), c.tx)
		mustFail(t, c.what, err, c.want)
		if err != nil && !strings.HasPrefix(err.Error(), c.text) {
			t.Errorf("%s: %q, want %q", c.what, err, c.text)
		}
	}
	if rs := mustObserve(t, w, id); len(rs.Elements) != 2 {
		t.Errorf("failed transactions left\n%s", rs)
	}
	mustFail(t, "an interval without end", w.Commit(context.Background(), add(entry("prefixes", first, Value{}, Value{}))), errNoEnd)
	mustFail(t, "an end without interval", w.Commit(context.Background(), add(entry("few", Port(1), Port(2), Port(1)))), errNoInterval)
}

func TestNoPrivilege(t *testing.T) {
	newNamespace(t)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all [2]unix.CapUserData
	if err := unix.Capget(&header, &all[0]); err != nil {
		t.Fatal(err)
	}
	none := all
	none[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	_, err := Dial(Options{})
	if err := unix.Capset(&header, &all[0]); err != nil {
		t.Fatal(err)
	}
	mustFail(t, "dial", err, unix.EPERM)
	if err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") || errors.Is(err, ErrOwned) {
		t.Errorf("dial: %v", err)
	}
}

func TestManyCallersOneKernel(t *testing.T) {
	newNamespace(t)
	w := dial(t, Options{})
	want := Ruleset{Tables: []Table{benchTable()}, Elements: make(Elements)}
	mustCommit(t, w, Diff(Ruleset{}, want))
	const callers, rounds = 32, 20
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for round := range rounds {
				// The number of every fifth caller is the same: one of them is first, the others fail.
				n := i*rounds + round
				if i%5 == 0 {
					n = 60_000 + round
				}
				tx := NewTx()
				for _, e := range publication(n) {
					tx.Add(e)
				}
				err := w.Commit(context.Background(), tx)
				if err != nil && (i%5 != 0 || !errors.Is(err, unix.EEXIST)) {
					t.Errorf("caller %d: %v", i, err)
				}
				mu.Lock()
				for _, e := range publication(n) {
					want.Elements[e] = struct{}{}
				}
				mu.Unlock()
			}
		})
	}
	// Reading while all of them write.
	for range 5 {
		mustObserve(t, w, benchTable().ID)
	}
	wg.Wait()
	mustBe(t, "what they added", mustObserve(t, w, benchTable().ID), want)
}

func TestLargeTransaction(t *testing.T) {
	newNamespace(t)
	w := dial(t, Options{})
	want := Ruleset{Tables: []Table{benchTable()}, Elements: make(Elements)}
	for i := range 10_000 {
		for _, e := range publication(i) {
			want.Elements[e] = struct{}{}
		}
	}
	mustCommit(t, w, Diff(Ruleset{}, want))
	mustBe(t, "10,000 ports", mustObserve(t, w, benchTable().ID), want)
	mustCommit(t, w, Diff(want, Ruleset{Tables: want.Tables}))
	if rs := mustObserve(t, w, benchTable().ID); len(rs.Elements) != 0 || w.Transactions() != 2 {
		t.Errorf("%d elements left, %d transactions", len(rs.Elements), w.Transactions())
	}
}

func ExampleDiff() {
	table := Table{ID: TableID{Inet, "bridged"}, Sets: []Set{
		{Name: "publish4any", Key: []Type{TypeProto, TypePort}, Data: []Type{TypeIPv4, TypePort}, Size: 131072, Counter: true},
	}}
	port := func(host, inside uint16) Element {
		return Element{
			Set:  SetID{table.ID, "publish4any"},
			Key:  Concat(Byte(6), Port(host)),
			Data: Concat(Addr(netip.MustParseAddr("172.17.0.2")), Port(inside)),
		}
	}
	have := Ruleset{Tables: []Table{table}, Elements: Elements{port(8080, 80): {}}}
	want := Ruleset{Tables: have.Tables, Elements: Elements{port(8080, 80): {}, port(8443, 443): {}}}
	fmt.Print(Diff(have, want))
	// Output: add element inet bridged publish4any { tcp . 8443 : 172.17.0.2 . 443 }
}
