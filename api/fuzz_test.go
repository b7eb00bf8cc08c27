package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/api"
	"github.com/bridged/bridged/api/apitest"
	"github.com/bridged/bridged/client"
)

// replaceable is an engine that another takes the place of between two requests.
type replaceable struct{ api.Engine }

// fuzzed is a server on a unix socket, for one target.
type fuzzed struct {
	engine *replaceable
	http   *http.Client
}

func serveFuzzed(f *testing.F) fuzzed {
	f.Helper()
	dir, err := os.MkdirTemp("", "api") // not the target's own directory: the path of a socket is short
	if err != nil {
		f.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	listener, err := api.Listen(socket)
	if err != nil {
		f.Fatal(err)
	}
	s := fuzzed{engine: &replaceable{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.New(s.engine, api.Options{}).Serve(ctx, listener) }()
	s.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
	}}
	f.Cleanup(func() {
		s.http.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			f.Error(err)
		}
		os.RemoveAll(dir)
	})
	return s
}

// answered is a call's answer, and what the engine had before and after it.
type answered struct {
	status        int
	contentType   string
	body          []byte
	before, after bridged.Status
}

// call makes one call of a daemon that has a network, two sandboxes on it, a lease, a port and a link.
func (s fuzzed) call(t *testing.T, method string, target *url.URL, body []byte) answered {
	t.Helper()
	e := furnished(t)
	s.engine.Engine = e
	req := &http.Request{Method: method, URL: target, Header: make(http.Header), Host: "bridged"}
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		req.Header.Set("Content-Type", "application/json")
	}
	before := e.Status()
	resp, err := s.http.Do(req)
	check(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	return answered{resp.StatusCode, resp.Header.Get("Content-Type"), text, before, e.Status()}
}

func furnished(t *testing.T) *apitest.Engine {
	t.Helper()
	e := apitest.New()
	e.MarkReady()
	_, _, err := e.CreateNetwork(t.Context(), bridged.NetworkSpec{Name: "n", IPv6: true, Labels: map[string]string{"a": "b"}})
	check(t, err)
	_, _, err = e.CreateNetwork(t.Context(), bridged.NetworkSpec{Name: "m", Subnets: []bridged.Subnet{{Prefix: netip.MustParsePrefix("172.19.0.0/16")}}})
	check(t, err)
	for _, name := range []string{"a", "b"} {
		_, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: name, Network: "n"})
		check(t, err)
	}
	_, err = e.AllocateInterface(t.Context(), bridged.InterfaceSpec{ID: "lease"})
	check(t, err)
	_, _, err = e.AddPorts(t.Context(), "b", []bridged.PortSpec{{ContainerPort: 80, Proto: bridged.TCP}})
	check(t, err)
	_, err = e.AddLink(t.Context(), bridged.LinkSpec{Parent: "b", Child: "a"})
	check(t, err)
	check(t, e.Link(t.Context(), bridged.LinkAdd, netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("172.18.0.3"), nil))
	return e
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// proper: an answer is a success, or says what was wrong with the request, and then nothing has changed. It is never the daemon's fault.
func (a answered) proper(t *testing.T) {
	t.Helper()
	switch {
	case a.status >= 200 && a.status < 300:
		for line := range bytes.Lines(a.body) { // one, but of events
			if strings.HasPrefix(a.contentType, "application/json") && !json.Valid(line) {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		return
	case a.status >= 500 && a.status != http.StatusNotImplemented, a.status < 400:
		t.Fatalf("%d %s", a.status, a.body)
	}
	var e client.Error
	if err := json.Unmarshal(a.body, &e); err != nil || e.Message == "" || e.Code == "" || e.Code == "internal" {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	if a.before.Networks != a.after.Networks || a.before.Sandboxes != a.after.Sandboxes || a.before.Endpoints != a.after.Endpoints ||
		a.before.Ports != a.after.Ports {
		t.Fatalf("%d %s, and what there is changed from %+v to %+v", a.status, a.body, a.before, a.after)
	}
}

// bodies are the calls with a body: the path, the type of the body, and examples.
var bodies = []struct {
	path     string
	body     any
	examples []string
}{
	{"/networks/create", client.NetworkCreate{}, []string{
		`{"Name":"m","Driver":"bridge","IPAM":{"Driver":"default","Config":[{"Subnet":"10.0.0.0/24","IPRange":"10.0.0.128/25","Gateway":"10.0.0.1",` +
			`"AuxiliaryAddresses":{"dns":"10.0.0.9"}},{"Subnet":"fd00:7::/64"}]},"Internal":true,"Options":{"com.docker.network.driver.mtu":"1400"},"Labels":{"a":""}}`,
		`{"Name":"m","EnableIPv4":false,"EnableIPv6":true,"Attachable":false,"ConfigFrom":null,"Scope":"local","CheckDuplicate":true}`,
		`{"Name":"m","IPAM":{"Config":[{"Subnet":"10.0.0.0/32"}]}}`,
	}},
	{"/networks/m/connect", client.NetworkConnect{}, []string{
		`{"Container":"a","EndpointConfig":{"IPAMConfig":{"IPv4Address":"172.19.0.9","LinkLocalIPs":null},"Aliases":["x"],"MacAddress":"02-00-00-00-00-09",` +
			`"DriverOpts":{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.log_martians=1"},"GwPriority":-1,"Links":null,"DNSNames":[]}}`,
		`{"Container":"b","EndpointConfig":null}`, `{"Container":"nobody","EndpointConfig":{}}`,
	}},
	{"/networks/n/disconnect", client.NetworkDisconnect{}, []string{`{"Container":"a","Force":true}`, `{"Container":"lease"}`}},
	{"/bridged/v1/sandboxes", client.SandboxCreate{}, []string{
		`{"Name":"s","Network":"n","IPv4Address":"172.18.0.9","IPv6Address":"fd00:1::9","MacAddress":"02:00:00:00:00:09","Ports":["8080:80","[::1]:53:53/udp"]}`,
		`{"Name":"s","NetNS":"/run/netns/x"}`, `{"Name":"s","PID":1,"Network":"container:a"}`, `{"Name":"s","Network":"host"}`,
		`{"Name":"s","Ports":["1-65535","1-65535"]}`,
	}},
	{"/bridged/v1/ports", client.PortsAdd{}, []string{
		`{"Sandbox":"a","Ports":["8000-8002:80-82/sctp"]}`, `{"Sandbox":"a","Ports":["0.0.0.0:8080:80","[::]:8080:80"]}`, `{"Sandbox":"b","Ports":["32768:1"]}`,
	}},
	{"/bridged/v1/links", client.LinkCreate{}, []string{
		`{"Parent":"a","Child":"b","Alias":"db","Ports":["5432/tcp","53/udp"]}`, `{"Parent":"b","Child":"a"}`, `{"Parent":"a","Child":"a"}`,
	}},
	{"/bridged/v1/allocate_interface", client.InterfaceAllocate{}, []string{
		`{"ID":"other","Network":"n","RequestedIP":"172.18.0.7","RequestedIPv6":"fd00:1::7","RequestedMac":"02:00:00:00:00:07"}`, `{"ID":"lease"}`,
	}},
	{"/bridged/v1/release_interface", client.InterfaceRelease{}, []string{`{"ID":"lease"}`, `{"ID":"nobody"}`}},
	{"/bridged/v1/allocate_port", client.PortAllocate{}, []string{
		`{"ID":"lease","HostIP":"::ffff:10.0.0.1","HostPort":8080,"ContainerPort":80,"Proto":"UDP"}`, `{"ID":"lease","HostIP":"::","ContainerPort":80}`,
	}},
	{"/bridged/v1/link", client.LinkChange{}, []string{
		`{"Action":"add","ParentIP":"172.18.0.3","ChildIP":"172.18.0.2","Ports":["80"]}`, `{"Action":"remove","ParentIP":"172.18.0.2","ChildIP":"172.18.0.3"}`,
	}},
}

// FuzzBodies: a body is refused with a reason, or it is a request that is the same when our client sends it.
func FuzzBodies(f *testing.F) {
	s := serveFuzzed(f)
	for i, b := range bodies {
		for _, example := range b.examples {
			f.Add(uint8(i), []byte(example))
		}
		f.Add(uint8(i), []byte(`{"Name":"s","ID":"lease","Sandbox":"a","Colour":"red"}`))
		f.Add(uint8(i), []byte(`{"Ports":[],"Ports":null} {}`))
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		b := bodies[int(which)%len(bodies)]
		target := &url.URL{Scheme: "http", Host: "bridged", Path: b.path}
		first := s.call(t, http.MethodPost, target, body)
		first.proper(t)
		if first.status >= 300 {
			return
		}
		in := reflect.New(reflect.TypeOf(b.body)).Interface()
		check(t, json.Unmarshal(body, in))
		again, err := json.Marshal(in)
		check(t, err)
		second := s.call(t, http.MethodPost, target, again)
		if second.status != first.status || !bytes.Equal(second.body, first.body) || !reflect.DeepEqual(second.after, first.after) {
			t.Fatalf("POST %s %s is answered %d %s, and sent as %s %d %s", b.path, body, first.status, first.body, again, second.status, second.body)
		}
	})
}

// FuzzCalls: whatever is asked for, by whatever method, is answered, or refused with a reason. What it would wait for is left out.
func FuzzCalls(f *testing.F) {
	s := serveFuzzed(f)
	filters := url.Values{"filters": {`{"name":{"n":true},"label":["a=b"],"type":{"custom":true}}`}}
	containers := url.Values{"filters": {`{"name":["^/b"],"network":{"n":true},"publish":["1-65535"],"expose":["80/tcp"],"before":["a"],"status":["running"]}`}}
	pruned := url.Values{"filters": {`{"label!":{"a=b":true},"until":["2006-01-02"]}`}}
	events := url.Values{"since": {"1h"}, "until": {"0"}, "filters": {`{"type":["network"],"label":["name=n"],"event":["create"],"container":["a"]}`}}
	for _, c := range []struct{ method, path, query string }{
		{"GET", "/_ping", ""}, {"GET", "/version", ""}, {"GET", "/v1.43/networks", filters.Encode()}, {"GET", "/networks/n", "scope=local&verbose=1"},
		{"HEAD", "/networks/bridge", ""}, {"DELETE", "/networks/none", ""}, {"DELETE", "/networks/n", ""}, {"GET", "/bridged/v1/ports", "sandbox=b"},
		{"DELETE", "/bridged/v1/ports", "sandbox=b&port=80&port=81/udp"}, {"DELETE", "/bridged/v1/ports", "sandbox=b&port=1-65535"},
		{"DELETE", "/bridged/v1/links", "parent=b&child=a"}, {"GET", "/bridged/v1/links", "sandbox=a"}, {"GET", "/bridged/v1/ruleset", "view=diff"},
		{"GET", "/bridged/v1/sandboxes/a", ""}, {"DELETE", "/bridged/v1/sandboxes/b", ""}, {"GET", "/bridged/v1/sandboxes/%2e%2e", ""}, {"PUT", "/networks", "%zz"},
		{"GET", "/containers/json", "all=1"}, {"GET", "/containers/json", containers.Encode()}, {"GET", "/containers/b/json", "size=1"}, {"GET", "/v1.50/info", ""},
		{"POST", "/networks/prune", pruned.Encode()}, {"GET", "/events", events.Encode()}, {"GET", "/images/json", ""}, {"OPTIONS", "*", ""}, {"GET", "/bridged/v1/status", "wait=0s"},
	} {
		f.Add(c.method, c.path, c.query)
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		if strings.Contains(query, "wait=") {
			query = "wait=0s"
		}
		target, err := url.Parse("http://bridged/" + strings.TrimPrefix(path, "/"))
		if err != nil || target.Host != "bridged" || !token(method) || method == http.MethodConnect || strings.ContainsFunc(query, notInQuery) {
			t.Skip("it is no HTTP")
		}
		if strings.HasSuffix(target.Path, "/events") { // they would wait for more
			query += "&until=0"
			if strings.Contains(target.Path, client.Prefix) {
				query = strings.TrimSuffix(query, "&until=0") + "&follow=false"
			}
		}
		target.RawQuery, target.Fragment = query, ""
		a := s.call(t, method, target, nil)
		if method == http.MethodHead {
			return
		}
		a.proper(t)
		if target.Path == "/networks" && method == http.MethodGet && a.status == http.StatusOK {
			var all []client.Network
			check(t, json.Unmarshal(a.body, &all))
			if len(all) > a.before.Networks {
				t.Fatalf("?%s shows %d networks of %d", query, len(all), a.before.Networks)
			}
		}
	})
}

// notInQuery tells whether a request's first line can't have the character.
func notInQuery(r rune) bool { return r <= ' ' || r >= 0x7f }

// token tells whether a method is one that HTTP can carry.
func token(method string) bool {
	for _, r := range method {
		if r < 'A' || r > 'Z' {
			return false
		}
	}
	return method != ""
}
