package hostcheck_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/nft"
)

// TestForeignOwner: a table of our name that another process owns is found, and the process named.
func TestForeignOwner(t *testing.T) {
	nstest.NeedTool(t, "nft")
	n := nstest.New(t)
	pid := interactiveNFT(t, n, "add table inet bridged { flags owner; }")
	var found []hostcheck.Finding
	for _, f := range hostcheck.Findings(read(t, n, hostcheck.Own{})) {
		if f.Kind == hostcheck.ForeignTable {
			found = append(found, f)
		}
	}
	if len(found) != 1 || found[0].Title != fmt.Sprintf("table inet bridged belongs to nft (pid %d)", pid) || found[0].Severity != hostcheck.Problem {
		t.Errorf("found %v", found)
	}
	for _, f := range hostcheck.Findings(read(t, n, hostcheck.Own{Owned: true})) {
		if f.Kind == hostcheck.ForeignTable {
			t.Errorf("found %v although the tables are ours", f)
		}
	}
}

// interactiveNFT starts an nft that keeps its socket until the test ends, and has it do something.
func interactiveNFT(t *testing.T, n nstest.NS, command string) (pid int) {
	t.Helper()
	cmd := exec.Command("nft", "-i")
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	n.Do(func() { check(t, cmd.Start()) })
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	_, err = io.WriteString(in, command+"\nlist tables\n")
	check(t, err)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "table inet bridged") && !strings.Contains(lines.Text(), "add") {
			return cmd.Process.Pid
		}
	}
	t.Fatal("nft did not list the table")
	return 0
}

// TestOwnTable: the table of this very process is nobody else's, and neither is one without an owner.
func TestOwnTable(t *testing.T) {
	n := nstest.New(t)
	n.Do(func() {
		w, err := nft.Dial(nft.Options{})
		check(t, err)
		tx := nft.NewTx()
		tx.AddTable(nft.Table{ID: nft.TableID{Family: nft.Inet, Name: "bridged"}})
		check(t, w.Commit(context.Background(), tx))
		look := func(when string) {
			h, err := hostcheck.Read(hostcheck.Own{})
			check(t, err)
			if len(h.Tables) != 1 || h.Tables[0].Owner != "" {
				t.Errorf("%s: tables are %+v", when, h.Tables)
			}
		}
		look("ours")
		check(t, w.Close())
		if w.Protection() == nft.ProtectionOwner {
			look("nobody's")
		}
	})
}
