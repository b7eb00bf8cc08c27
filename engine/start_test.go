package engine

import (
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// TestStartSeesLateChanges: what an engine lists before it runs is not believed when somebody has changed something since.
func TestStartSeesLateChanges(t *testing.T) {
	host, cfg := giveNamespace(t), testConfig(t)
	e, stop := startIn(t, host, cfg)
	if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "web", NetNS: giveNamespace(t), Ports: specs(t, "8080:80")}); err != nil {
		t.Fatal(err)
	}
	stop()
	for _, tt := range []struct {
		what         string
		meanwhile    []string
		transactions uint64
	}{
		{"nothing", []string{"list", "tables"}, 1},
		{"a table of somebody's", []string{"add", "table", "inet", "somebodys"}, 1},
		{"an element taken away", []string{"delete", "element", "inet", "bridged", "publish4any", "{ tcp . 8080 }"}, 2},
		{"an element added", []string{"add", "element", "inet", "bridged", "bridges", "{ somebodys }"}, 2},
		{"a chain emptied", []string{"flush", "chain", "inet", "bridged", "guard"}, 2},
		{"all taken away", []string{"flush", "ruleset"}, 1},
	} {
		e, err := openIn(t, host, cfg, less{})
		if err != nil {
			t.Fatal(err)
		}
		<-e.host.(*machine).ahead.Load().done
		in(t, host, "nft", tt.meanwhile...)
		_, stop = run(t, e)
		if n := e.Status().Transactions; n != tt.transactions {
			t.Errorf("%s: %d transactions, not %d", tt.what, n, tt.transactions)
		}
		if diff, differs, err := e.Ruleset(t.Context(), bridged.RulesetDiff); differs || err != nil {
			t.Errorf("%s: the kernel is not as wanted: %v\n%s", tt.what, err, diff)
		}
		if list := in(t, host, "nft", "list", "map", "inet", "bridged", "publish4any"); !strings.Contains(list, "tcp . 8080") {
			t.Errorf("%s: the port is not published:\n%s", tt.what, list)
		}
		stop()
	}
}
