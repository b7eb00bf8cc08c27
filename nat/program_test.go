package nat_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestProgramText: a change of the chains and sets is seen, as text. (Package forwarding's tests load them, together with its
// own, and send packets through them.)
func TestProgramText(t *testing.T) {
	table := nft.Table{ID: nat.Inet, Sets: nat.Sets(), Chains: nat.Chains()}
	const file = "testdata/program.golden"
	if *update {
		if err := os.WriteFile(file, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(table.String(), "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
