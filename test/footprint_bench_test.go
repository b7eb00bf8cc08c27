package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/internal/nstest"
)

// BenchmarkFootprint is what the real binary takes: its size, stripped, and the resident memory of its process, when it has nothing, when
// it has just made a thousand sandboxes with ten ports each, and when the next daemon is ready that found them.
func BenchmarkFootprint(b *testing.B) {
	const sandboxes = 1000
	var idle, busy, restarted int // KiB, summed up
	for b.Loop() {
		w := newWorld(b)
		d := w.daemon()
		idle += d.memory(b, "VmRSS")
		w.soak(b, d, sandboxes, func(ctx context.Context, c *client.Client, i int) error {
			first := 10000 + 10*i
			_, err := c.CreateSandbox(ctx, client.SandboxCreate{Name: fmt.Sprintf("c%d", i), Ports: []string{fmt.Sprintf("0.0.0.0:%d-%d:80-89", first, first+9)}})
			return err
		})
		busy += d.memory(b, "VmRSS")
		d.Stop()
		d = w.daemon()
		if s := decode[statusJSON](w, "status", "--json"); s.Ports != 10*sandboxes || len(s.Warnings) > 0 {
			b.Fatalf("status is %+v", s)
		}
		restarted += d.memory(b, "VmRSS")
		w.soak(b, d, sandboxes, func(ctx context.Context, c *client.Client, i int) error {
			return c.RemoveSandbox(ctx, fmt.Sprintf("c%d", i))
		})
		d.Stop()
	}
	mib := func(kib int) float64 { return float64(kib) / float64(b.N) / 1024 }
	b.ReportMetric(mib(idle), "idle-MiB")
	b.ReportMetric(mib(busy), "busy-MiB")
	b.ReportMetric(mib(restarted), "restarted-MiB")
	b.ReportMetric(float64(strippedSize(b))/1e6, "binary-MB")
}

// strippedSize is the size of the binary as the Makefile builds it, in bytes.
func strippedSize(b *testing.B) int64 {
	b.Helper()
	path := filepath.Join(b.TempDir(), "bridged")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", "nethttpomithttp2,purego", "-trimpath", "-ldflags", "-s -w", "-o", path, nstest.Program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("cannot build: %v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}
