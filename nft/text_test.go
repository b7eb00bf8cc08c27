package nft

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Our text, loaded by nft, is listed by nft as our text; and the kernel then holds what encodeRule makes of each rule, and
// decodeRule reads the rule back.
func TestTextAndEncodingAreThoseOfNFT(t *testing.T) {
	for _, table := range []Table{inetTable(), bridgeTable()} {
		t.Run(table.ID.String(), func(t *testing.T) {
			newNamespace(t)
			if err := compareWithNFT(t, &table); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// compareWithNFT replaces the namespace's ruleset by the table's text.
func compareWithNFT(tb testing.TB, table *Table) error {
	tb.Helper()
	text := table.String()
	if out, err := nftTool(tb, "flush ruleset\n"+text, "-f", "-"); err != nil {
		return fmt.Errorf("nft does not take our text: %w\n%s", err, out)
	}
	list, err := nftTool(tb, "", "-s", "list", "table", table.ID.Family.String(), table.ID.Name)
	if err != nil {
		return fmt.Errorf("nft cannot list our table: %w\n%s\n%s", err, list, text)
	}
	if diff := cmp.Diff(list, text); diff != "" {
		return fmt.Errorf("text differs from nft's list (-nft +ours):\n%s", diff)
	}
	held, anonymous := kernelRules(tb, table.ID)
	for _, c := range table.Chains {
		for _, r := range c.Rules {
			k := held[0]
			held = held[1:]
			if err := table.wrote(r, k.exprs, k.userdata); err != nil {
				return fmt.Errorf("%s: the kernel holds something else: %w\n%v", table.RuleText(r), err, exprsText(k.exprs))
			}
			got, err := decodeRule(table, k.exprs, k.userdata, anonymous)
			if diff := cmp.Diff(r, got, cmpOptions); err != nil || diff != "" {
				return fmt.Errorf("%s is read back as %s (-want +got): %w\n%s", table.RuleText(r), table.RuleText(got), err, diff)
			}
		}
	}
	return nil
}

var cmpOptions = cmp.AllowUnexported(Expr{}, Value{}, counterStmt{}, masqueradeStmt{})
