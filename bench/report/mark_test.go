package report

import (
	"testing"
	"time"
)

func row(workload, peer string, ports int, p50 time.Duration) Row {
	return Row{Key: Key{Workload: workload, Peer: peer, Ports: ports}, Stats: Stats{N: 1, P50: p50, P99: 2 * p50}}
}

// The worst of a mark's measurements counts, and what was not measured is neither met nor missed.
func TestMarks(t *testing.T) {
	verdict := func(r *Report, what string) Mark {
		for _, m := range marks(r) {
			if m.What == what {
				return m
			}
		}
		t.Fatalf("there is no mark %q", what)
		return Mark{}
	}
	floor := []Row{row("publish", Raw, 0, 1000), row("publish", Raw, 1000, 1000)}
	for _, test := range []struct {
		name    string
		what    string
		rows    []Row
		verdict string
		text    string
	}{
		{"met", "publish in nft : raw floor", append(floor, row("publish", NFT, 0, 1100), row("publish", NFT, 1000, 1200)), "met", "1.20 (1.20 µs : 1.00 µs; 1000 ports)"},
		{"not met once", "publish in nft : raw floor", append(floor, row("publish", NFT, 0, 1500), row("publish", NFT, 1000, 1100)), "NOT MET", "1.50 (1.50 µs : 1.00 µs; 0 ports)"},
		{"no floor", "publish in nft : raw floor", []Row{row("publish", NFT, 0, 1500)}, "not measured", ""},
		{"grown", "publish in nft beside most ports : beside none", []Row{row("publish", NFT, 0, 1000), row("publish", NFT, 500, 1300)}, "NOT MET", "1.30 (1.30 µs : 1.00 µs; 500 ports : 0)"},
		{"one size only", "publish in nft beside most ports : beside none", []Row{row("publish", NFT, 0, 1000)}, "not measured", ""},
		{"at least, met", "iptables (nft) : publish in nft, beside no port", []Row{row("publish", NFT, 0, 1000), row("publish", IPTables, 0, 1_200_000)}, "met", "1200 (1.20 ms : 1.00 µs; 0 ports)"},
		{"at least, not met", "iptables (nft) : publish in nft, beside no port", []Row{row("publish", NFT, 0, 1000), row("publish", IPTables, 0, 900_000)}, "NOT MET", "900 (900 µs : 1.00 µs; 0 ports)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := verdict(&Report{Rows: test.rows}, test.what)
			if m.Verdict() != test.verdict || m.Measured != test.text {
				t.Errorf("%s, %q; want %s, %q", m.Verdict(), m.Measured, test.verdict, test.text)
			}
		})
	}
}
