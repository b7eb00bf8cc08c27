package cni

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkPod is ADD and DEL of one pod by cnitool, by turns with our plugin and with the reference chain of bridge, host-local, portmap and firewall.
// Each pod has a namespace of its own. Medians, and theirs through ours; cnitool's own time is in both.
func BenchmarkPod(b *testing.B) {
	ours, _ := bridgedHost(b)
	theirs := referenceHost(b)
	c := chain{bridge: bridgeKeys, ipam: ipam4, portmap: portmapKeys, firewall: firewallKeys}
	for _, h := range []*host{ours, theirs} {
		h.listOf(c, "podnet", "1.0.0")
	}
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("ports=%d", n), func(b *testing.B) {
			var spent [2][]time.Duration
			for i := range b.N {
				var mappings []string
				for port := range n {
					mappings = append(mappings, fmt.Sprintf("%d:80/tcp", 10000+(i%200)*n+port))
				}
				for side, h := range []*host{ours, theirs} {
					h.space.Output(b, "ip", "netns", "add", "p1")
					began := time.Now()
					h.must("add", "podnet", "p1", ports(mappings...))
					h.must("del", "podnet", "p1", ports(mappings...))
					spent[side] = append(spent[side], time.Since(began))
					h.space.Output(b, "ip", "netns", "del", "p1")
				}
			}
			ours, theirs := median(spent[0]), median(spent[1])
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(ours.Seconds()*1000, "ms/ours")
			b.ReportMetric(theirs.Seconds()*1000, "ms/theirs")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times")
		})
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkProcess is the plugin's process beside a bare fork and exec of a static program that does nothing. VERSION asks nobody, STATUS is a call to
// the daemon.
func BenchmarkProcess(b *testing.B) {
	h, _ := bridgedHost(b)
	nothing := filepath.Join(b.TempDir(), "nothing.go")
	if err := os.WriteFile(nothing, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	bare := filepath.Join(b.TempDir(), "nothing")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", bare, nothing)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	plugin := filepath.Join(plugins, "bridged-cni")
	config := `{"cniVersion": "1.1.0", "name": "podnet", "type": "bridged-cni", ` + members + `}`
	for _, c := range []struct {
		name, stdin string
		args        []string
	}{
		{"bare", "", []string{bare}},
		{"VERSION", "", []string{plugin, "CNI_COMMAND=VERSION"}},
		{"STATUS", config, []string{plugin, "CNI_COMMAND=STATUS"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var spent []time.Duration
			for range b.N {
				began := time.Now()
				if r := h.run(c.args[1:], c.stdin, c.args[0]); r.status != 0 {
					b.Fatal(r)
				}
				spent = append(spent, time.Since(began))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(spent).Seconds()*1000, "ms/process")
		})
	}
}
