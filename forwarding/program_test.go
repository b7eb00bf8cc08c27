package forwarding_test

import (
	"context"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

var update = flag.Bool("update", false, "write the golden files anew")

// program is both tables, as package engine puts them together.
func program() []nft.Table {
	return []nft.Table{
		{
			ID:     nat.Inet,
			Sets:   slices.Concat(forwarding.Sets(), nat.Sets()),
			Chains: slices.Concat(forwarding.Chains(), nat.Chains()),
		},
		forwarding.BridgeTable(),
	}
}

// golden compares got with a file in testdata, and writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	file = "testdata/" + file
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestProgramText: a change of the program is seen, as text.
func TestProgramText(t *testing.T) {
	golden(t, "program.golden", nft.Ruleset{Tables: program()}.String())
}

// TestProgramIsReference: what the kernel holds of our program is what it holds of the commented reference, which nft has loaded.
func TestProgramIsReference(t *testing.T) {
	var want string
	inNamespace(t, func() {
		nftTool(t, read(t, "reference-inet.nft"), "-f", "-")
		nftTool(t, read(t, "reference-bridge.nft"), "-f", "-")
		want = nftTool(t, "", "-s", "list", "ruleset")
	})
	base := make(nft.Elements)
	for _, e := range forwarding.Base() {
		base[e] = struct{}{}
	}
	ours := nft.Ruleset{Tables: program(), Elements: base}
	ways := map[string]func(){
		"by the writer": func() { load(t, ours) },
		"as text":       func() { nftTool(t, ours.String(), "-f", "-") },
	}
	for name, write := range ways {
		t.Run(name, func(t *testing.T) {
			var got string
			inNamespace(t, func() {
				write()
				got = nftTool(t, "", "-s", "list", "ruleset")
			})
			if diff := gocmp.Diff(blocks(want), blocks(got)); diff != "" {
				t.Errorf("not the reference (-reference +ours):\n%s", diff)
			}
		})
	}
}

// load brings a ruleset into the calling thread's namespace.
func load(t *testing.T, rs nft.Ruleset) {
	w, err := nft.Dial(nft.Options{Protection: nft.ProtectionMonitor})
	if err != nil {
		t.Error(err)
		return
	}
	defer w.Close()
	if err := w.Commit(context.Background(), nft.Diff(nft.Ruleset{}, rs)); err != nil {
		t.Error(err)
	}
}

// blocks are the sets and chains of a listing, each as lines that begin with the table's, in an order of their own: sets are
// listed in the order in which they were made, which means nothing.
func blocks(listing string) [][]string {
	var all [][]string
	var table string
	for line := range strings.Lines(listing) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line == "}":
		case strings.HasPrefix(line, "table "):
			table = line
		case strings.HasPrefix(line, "\tset ") || strings.HasPrefix(line, "\tmap ") || strings.HasPrefix(line, "\tchain "):
			all = append(all, []string{table, line})
		default:
			all[len(all)-1] = append(all[len(all)-1], line)
		}
	}
	slices.SortFunc(all, slices.Compare)
	return all
}
