package dockerengine

import (
	"net/netip"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// The harness itself: an engine that programs its own packet filter publishes a port.
func TestHarness(t *testing.T) {
	w := newWorld(t)
	e := w.engine("/usr/sbin:/sbin:/usr/bin:/bin", "--userland-proxy=false")
	w.importImage()
	c1 := w.run("c1", "-p", "8080:80")
	flowtest.Serve(t, c1.Space, 80)
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host4, 8080), "c1")
	w.docker("rm", "-f", "c1")
	e.Stop()
}
