package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/internal/benchtest"
	"github.com/bridged/bridged/internal/flowtest"
)

// asker asks a daemon over one connection that lasts.
type asker struct{ http http.Client }

func newAsker(b *testing.B, d *daemon) *asker {
	b.Helper()
	path := fmt.Sprintf("/proc/%d/root/run/bridged/bridged.sock", d.Cmd.Process.Pid)
	transport := &http.Transport{MaxConnsPerHost: 1, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	b.Cleanup(transport.CloseIdleConnections)
	return &asker{http.Client{Transport: transport}}
}

// ask makes a request with a body in JSON; nil: without. What is no success is an error.
func (a *asker) ask(method, path string, in any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, "http://bridged"+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := a.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return err
}

func (a *asker) ping() error { return a.ask("GET", "/_ping", nil) }

func (a *asker) publish(port int) error {
	return a.ask("POST", client.Prefix+"/ports", client.PortsAdd{Sandbox: "web", Ports: []string{fmt.Sprintf("%d:80", port)}})
}

func (a *asker) unpublish(port int) error {
	return a.ask("DELETE", fmt.Sprintf("%s/ports?sandbox=web&port=%d:80", client.Prefix, port), nil)
}

// Host ports of the benchmarks: those that stay, and those that come and go, which are many, so that one that went is taken again
// when its connections are long purged.
const (
	firstLasting = 10001
	firstPassing = 60000
	passing      = 5000
)

// benchDaemon is a daemon with the sandbox web, which publishes so many ports, a thousand in a request.
func benchDaemon(b *testing.B, published int) (*world, *asker) {
	b.Helper()
	w := newWorld(b)
	a := newAsker(b, w.daemon())
	w.create("web")
	const chunk = 1000
	for first := firstLasting; first < firstLasting+published; first += chunk {
		last := min(first+chunk, firstLasting+published) - 1
		ports := []string{fmt.Sprintf("%d-%d:%[1]d-%[2]d", first, last)}
		if err := a.ask("POST", client.Prefix+"/ports", client.PortsAdd{Sandbox: "web", Ports: ports}); err != nil {
			b.Fatal(err)
		}
	}
	return w, a
}

// BenchmarkPublish publishes a port over HTTP, and takes it back, in turn with a ping on the same connection; beside none and beside 15,000,
// which is what the usual limit of open files has room for. Marks: twice the ping; 1.25 times beside none.
func BenchmarkPublish(b *testing.B) {
	_, none := benchDaemon(b, 0)
	_, many := benchDaemon(b, 15_000)
	watch := benchtest.NewWatch("ping", "publish", "unpublish", "publish-at-15k", "unpublish-at-15k")
	for n := 0; b.Loop(); n++ {
		port := firstPassing + n%passing
		benchtest.InTurn(
			func() { watch.Time(b, "ping", none.ping) },
			func() {
				watch.Time(b, "publish", func() error { return none.publish(port) })
				watch.Time(b, "unpublish", func() error { return none.unpublish(port) })
			},
			func() {
				watch.Time(b, "publish-at-15k", func() error { return many.publish(port) })
				watch.Time(b, "unpublish-at-15k", func() error { return many.unpublish(port) })
			},
		)
	}
	watch.Report(b)
	watch.Ratio(b, "publish", "ping")
	watch.Ratio(b, "unpublish", "ping")
	watch.Ratio(b, "publish-at-15k", "publish")
	watch.Ratio(b, "unpublish-at-15k", "unpublish")
}

// BenchmarkAttach attaches a sandbox with a port over HTTP, in a namespace that exists, and detaches it, in turn with two raw datagrams that
// do the kernel's part of an attach, and a ping. Marks: 1.5 times both together; a detach is half of an attach.
func BenchmarkAttach(b *testing.B) {
	const sandboxes = 32
	w, a := benchDaemon(b, 0)
	index, err := strconv.Atoi(strings.TrimSpace(w.host.Output(b, "cat", "/sys/class/net/docker0/ifindex")))
	if err != nil {
		b.Fatal(err)
	}
	floor := benchtest.NewAttach(b, w.host.Do, index, "floor", sandboxes)
	var specs []client.SandboxCreate
	for i := range sandboxes {
		s := flowtest.NewSpace(b, fmt.Sprint("space", i), false)
		specs = append(specs, client.SandboxCreate{Name: fmt.Sprint("c", i), NetNS: s.Path(), Ports: []string{fmt.Sprintf("%d:80", firstPassing+i)}})
	}
	watch := benchtest.NewWatch("ping", "floor", "attach", "detach")
	for b.Loop() {
		floor.Prepare()
		for i, s := range specs {
			benchtest.InTurn(
				func() { watch.Time(b, "ping", a.ping) },
				func() { watch.Time(b, "floor", func() error { return floor.Attach(i) }) },
				func() { watch.Time(b, "attach", func() error { return a.ask("POST", client.Prefix+"/sandboxes", s) }) },
			)
		}
		for _, s := range specs {
			watch.Time(b, "detach", func() error { return a.ask("DELETE", client.Prefix+"/sandboxes/"+s.Name, nil) })
		}
		for _, name := range floor.Names() {
			w.host.IP(b, "link del "+name)
		}
	}
	watch.Report(b)
	both := watch.Quantile("ping", 0.5) + watch.Quantile("floor", 0.5)
	b.ReportMetric(float64(watch.Quantile("attach", 0.5))/float64(both), "attach-x-floor+ping-p50")
	watch.Ratio(b, "detach", "attach")
}
