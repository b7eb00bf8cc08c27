package dockerengine

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"
)

// An engine with all that its own bridge wants: iptables, and a proxy for each port unless a benchmark says otherwise. Its bridge is made by
// hand, as ours is: docker0 has no resolver, which takes time to set up.
func newBenchWorld(b *testing.B, flags ...string) *world {
	b.Helper()
	w := newWorld(b)
	w.ours = w.daemon("--ip-forward-no-drop")
	w.engines = w.engine(usualPath, append([]string{"--bip", "172.31.0.1/24"}, flags...)...)
	w.importImage()
	w.docker("network", "create", "--subnet", "172.30.0.0/24", "own")
	w.docker(networkOptions("bridged", "ours")...)
	return w
}

// took is how long `docker run` takes on a network with these arguments; the container is removed afterwards.
func (w *world) took(network string, args ...string) time.Duration {
	w.t.Helper()
	begun := time.Now()
	w.docker(append(append([]string{"run", "-d", "--stop-signal", "KILL", "--name", "box", "--network", network}, args...), image)...)
	d := time.Since(begun)
	w.docker("rm", "-f", "box")
	return d
}

// median is that of durations, which it sorts.
func median(all []time.Duration) time.Duration {
	slices.SortFunc(all, cmp.Compare)
	return all[len(all)/2]
}

// BenchmarkRun is `docker run -p` on our network and on the engine's own bridge, in turn, with the proxy for each port that engines have as they come, and
// without. none/ms is the same on no network: what is not the network's.
func BenchmarkRun(b *testing.B) {
	for _, proxy := range []bool{true, false} {
		b.Run(fmt.Sprintf("userland-proxy=%t", proxy), func(b *testing.B) {
			w := newBenchWorld(b, fmt.Sprintf("--userland-proxy=%t", proxy))
			times := make(map[string][]time.Duration)
			for b.Loop() {
				for _, network := range []string{"none", "own", "ours"} {
					args := []string{"-p", "8080:80"}
					if network == "none" {
						args = nil
					}
					times[network] = append(times[network], w.took(network, args...))
				}
			}
			none, own, ours := median(times["none"]), median(times["own"]), median(times["ours"])
			b.ReportMetric(milliseconds(none), "none-ms")
			b.ReportMetric(milliseconds(own), "own-ms")
			b.ReportMetric(milliseconds(ours), "ours-ms")
			b.ReportMetric(float64(ours)/float64(own), "ours/own")
		})
	}
}

// BenchmarkRange is `docker run` with 1,000 ports on our network, less the same without ports: the time of the network, and of what Docker does with a
// list of 1,000. The engine's own bridge is measured once, without a proxy for each port, which makes it slower still.
func BenchmarkRange(b *testing.B) {
	w := newBenchWorld(b, "--userland-proxy=false")
	ports := []string{"-p", "20000-20999:1000-1999"}
	var without, with []time.Duration
	for b.Loop() {
		without = append(without, w.took("ours"))
		with = append(with, w.took("ours", ports...))
	}
	b.ReportMetric(milliseconds(median(with)-median(without)), "ours-ms")
	b.ReportMetric(milliseconds(w.took("own", ports...)-w.took("own")), "own-ms")
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
