package nfttest_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/nft"
	"github.com/bridged/bridged/nft/nfttest"
)

func Example() {
	opts := nft.Options{Refuse: nfttest.NoFamily(nft.Bridge)}
	fmt.Println(opts.Refuse(nft.Message{Type: unix.NFT_MSG_NEWTABLE, Family: nft.Bridge}))
	// Output: operation not supported
}

// tables is a table that every kernel takes, and one that needs the feature in question.
func tables(needs nft.Table) []nft.Table {
	plain := nft.Table{ID: nft.TableID{Family: nft.Inet, Name: "plain"}}
	needs.ID.Name = "needs"
	return []nft.Table{plain, needs}
}

func hooked(t nft.ChainType, at nft.HookPoint, rules ...nft.Rule) nft.Table {
	return nft.Table{
		ID:     nft.TableID{Family: nft.Inet},
		Chains: []nft.Chain{{Name: "chain", Hook: &nft.Hook{Type: t, Point: at, Priority: nft.PriorityFilter}, Rules: rules}},
	}
}

// TestRefusals: a transaction that needs what the kernel lacks is refused as a whole, with the error of such a kernel, and the rest of
// it would have been taken; a kernel with everything takes it.
func TestRefusals(t *testing.T) {
	bridge := hooked(nft.FilterChain, nft.Prerouting)
	bridge.ID.Family = nft.Bridge
	fib := nft.Rule{nft.FIBDAddrType.Is(nft.Mark(nft.RTNLocal)), nft.Accept}
	tests := []struct {
		name   string
		refuse nfttest.Refusal
		needs  nft.Table
		want   unix.Errno
		op     string
	}{
		{"family", nfttest.NoFamily(nft.Bridge), bridge, unix.EOPNOTSUPP, "create table"},
		{"hooks of the family", nfttest.NoFamilyHooks(nft.Bridge), bridge, unix.ENOENT, "create chain"},
		{"chain type", nfttest.NoChainType("nat"), hooked(nft.NATChain, nft.Prerouting), unix.ENOENT, "create chain"},
		{"expression", nfttest.NoExpression("fib"), hooked(nft.FilterChain, nft.Prerouting, fib), unix.ENOENT, "add rule"},
		{
			"one of several", nfttest.Any(nfttest.NoChainType("nat"), nfttest.NoExpression("fib")),
			hooked(nft.FilterChain, nft.Prerouting, fib), unix.ENOENT, "add rule",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nstest.New(t).Do(func() {
				all := tables(tt.needs)
				err := commit(t, tt.refuse, all...)
				var refused *nft.Error
				if !errors.As(err, &refused) || refused.Errno != tt.want || refused.Op != tt.op || refused.Table.Name != "needs" {
					t.Errorf("%v, want that it can't %s: %v", err, tt.op, tt.want)
				}
				if left := list(t); left != "" {
					t.Errorf("the refused transaction left\n%s", left)
				}
				if err := commit(t, tt.refuse, all[0]); err != nil {
					t.Errorf("without what is missing: %v", err)
				}
				if err := commit(t, nil, all[1]); err != nil {
					t.Errorf("a kernel with everything: %v", err)
				}
			})
		})
	}
}

// commit writes tables by a writer of its own, and leaves them there.
func commit(t *testing.T, refuse nfttest.Refusal, tables ...nft.Table) error {
	t.Helper()
	w, err := nft.Dial(nft.Options{Protection: nft.ProtectionMonitor, Refuse: refuse})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.Commit(context.Background(), nft.Diff(nft.Ruleset{}, nft.Ruleset{Tables: tables}))
}

// list is what nft shows of the calling thread's namespace.
func list(t *testing.T) string {
	t.Helper()
	nstest.NeedTool(t, "nft")
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return string(out)
}

// TestProtection: what the writer makes of kernels without the flags of tables, and what it says when they were asked for.
func TestProtection(t *testing.T) {
	const lacks = "protection owner+persist: not supported by this kernel: it lacks the nf_tables table "
	tests := []struct {
		name   string
		refuse nfttest.Refusal
		got    string
		asked  string // the error when owner+persist is asked for
	}{
		{"all", nil, nft.ProtectionOwner, ""},
		{
			"neither flag", nfttest.NoTableFlags(nfttest.Owner | nfttest.Persist), nft.ProtectionMonitor,
			lacks + "flags owner and persist, which Linux 6.9 has",
		},
		{"no persist", nfttest.NoTableFlags(nfttest.Persist), nft.ProtectionMonitor, lacks + "flag persist, which Linux 6.9 has"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nstest.New(t).Do(func() {
				w, err := nft.Dial(nft.Options{Refuse: tt.refuse})
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
				if w.Protection() != tt.got {
					t.Errorf("the tables are protected by %s, want %s", w.Protection(), tt.got)
				}
				owner, err := nft.Dial(nft.Options{Refuse: tt.refuse, Protection: nft.ProtectionOwner})
				if err == nil {
					owner.Close()
				}
				if got := fmt.Sprint(err); tt.asked != "" && (got != tt.asked || !errors.Is(err, nft.ErrNoKernelSupport)) {
					t.Errorf("asked for: %v, want %s", err, tt.asked)
				} else if tt.asked == "" && err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestNoNFTables: there is no writer for a kernel without.
func TestNoNFTables(t *testing.T) {
	_, err := nft.Dial(nft.Options{Refuse: nfttest.NoNFTables})
	if !errors.Is(err, nft.ErrNoKernelSupport) {
		t.Error(err)
	}
}
