package api_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

// TestBadLinks: what is wrong with a request for a link, or with one to a handler, is said, and nothing is changed.
func TestBadLinks(t *testing.T) {
	const (
		links     = "/bridged/v1/links"
		link      = "/bridged/v1/link"
		iface     = "/bridged/v1/allocate_interface"
		release   = "/bridged/v1/release_interface"
		port      = "/bridged/v1/allocate_port"
		addresses = `"ParentIP": "10.0.0.2", "ChildIP": "10.0.0.3"`
	)
	for _, c := range []struct {
		method, path, body string
		status             int
		message            string // a part of it
	}{
		{"GET", links + "?sandbox=", "", 400, `query parameter "sandbox" is empty`},
		{"GET", links + "?sandbox=nobody", "", 404, "sandbox nobody not found"},
		{"DELETE", links + "?child=web", "", 400, `query parameter "parent" is missing`},
		{"DELETE", links + "?parent=web", "", 400, `query parameter "child" is missing`},
		{"DELETE", links + "?parent=web&child=db", "", 404, "sandbox web not found"},
		{"POST", links, `{"Child": "db"}`, 400, `field "Parent": is missing`},
		{"POST", links, `{"Parent": "web"}`, 400, `field "Child": is missing`},
		{"POST", links, `{"Parent": "web", "Child": "db"}`, 404, "sandbox web not found"},
		{"POST", links, `{"Parent": "web", "Child": "db", "Ports": ["80", "x"]}`, 400, `field "Ports": invalid port "x"`},
		{"POST", links, `{"Parent": "web", "Child": "db", "Ports": ["8080:80"]}`, 400, `invalid port "8080:80"`},
		{"POST", links, `{"Parent": "web", "Child": "db", "Ports": "80"}`, 400, `field "Ports": want an array`},

		{"POST", link, `{"Action": "del", ` + addresses + `}`, 400, `field "Action": "del" is unknown: use add or remove`},
		{"POST", link, `{` + addresses + `}`, 400, `field "Action": "" is unknown`},
		{"POST", link, `{"Action": "add", "ChildIP": "10.0.0.3"}`, 400, `field "ParentIP": "" is no IP address`},
		{"POST", link, `{"Action": "add", "ParentIP": "10.0.0.2", "ChildIP": "db"}`, 400, `field "ChildIP": "db" is no IP address`},
		{"POST", link, `{"Action": "add", ` + addresses + `, "Ports": ["0/tcp"]}`, 400, "there is no port 0"},
		{"POST", link, `{"Action": "add", ` + addresses + `}`, 404, "nobody has the address 10.0.0.2"},

		{"POST", iface, `{}`, 400, `field "ID": is missing`},
		{"POST", iface, `{"ID": "k", "Network": "nowhere"}`, 404, "network nowhere not found"},
		{"POST", iface, `{"ID": "k", "RequestedIP": "fd00::1"}`, 400, `field "RequestedIP": fd00::1 is no IPv4 address`},
		{"POST", iface, `{"ID": "k", "RequestedIPv6": "10.0.0.1"}`, 400, `field "RequestedIPv6": 10.0.0.1 is no IPv6 address`},
		{"POST", iface, `{"ID": "k", "RequestedMac": "x"}`, 400, `field "RequestedMac": invalid MAC address`},
		{"POST", iface, `{"Id": "k"}`, 400, `unknown field "Id": did you mean "ID"?`},
		{"POST", release, `{}`, 400, `field "ID": is missing`},
		{"POST", release, `{"ID": "k"}`, 404, "No network information to release for k"},

		{"POST", port, `{"ContainerPort": 80}`, 400, `field "ID": is missing`},
		{"POST", port, `{"ID": "k"}`, 400, `field "ContainerPort": 0 must be from 1 to 65535`},
		{"POST", port, `{"ID": "k", "ContainerPort": 65536}`, 400, `field "ContainerPort": 65536 must be from 1`},
		{"POST", port, `{"ID": "k", "ContainerPort": 80, "HostPort": -1}`, 400, `field "HostPort": -1 must be from 0`},
		{"POST", port, `{"ID": "k", "ContainerPort": 80, "HostPort": "80"}`, 400, `field "HostPort": want a whole number`},
		{"POST", port, `{"ID": "k", "ContainerPort": 80, "HostIP": "localhost"}`, 400, `field "HostIP": "localhost" is no IP address`},
		{"POST", port, `{"ID": "k", "ContainerPort": 80, "Proto": "icmp"}`, 400, `field "Proto": invalid protocol "icmp"`},
		{"POST", port, `{"ID": "k", "ContainerPort": 80}`, 404, "k has no interface"},
	} {
		t.Run(c.method+" "+c.path+" "+c.body, func(t *testing.T) {
			s := ready(t)
			before := s.engine.Status()
			x := s.do(c.method, c.path, c.body)
			var e client.Error
			if err := json.Unmarshal([]byte(x.answer), &e); err != nil {
				t.Fatalf("status %d, answer %q: %v", x.status, x.answer, err)
			}
			if x.status != c.status || !strings.Contains(e.Message, c.message) {
				t.Errorf("have %d %q\nwant %d %q", x.status, e.Message, c.status, c.message)
			}
			if d := cmp.Diff(before, s.engine.Status()); d != "" {
				t.Errorf("something changed:\n%s", d)
			}
		})
	}
}

// TestClientHandlers: the handlers and links as a Go program uses them.
func TestClientHandlers(t *testing.T) {
	s := ready(t)
	ctx, c := t.Context(), s.client
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"web", "db"} {
		_, err := c.CreateSandbox(ctx, client.SandboxCreate{Name: name})
		check(err)
	}
	l, err := c.AddLink(ctx, client.LinkCreate{Parent: "web", Child: "db", Ports: []string{"5432"}})
	check(err)
	want := client.Link{Parent: "web", Child: "db", Alias: "db", Ports: []string{"5432/tcp"}}
	if d := cmp.Diff(want, l); d != "" {
		t.Errorf("the link (-want +have):\n%s", d)
	}
	all, err := c.Links(ctx, "db")
	check(err)
	if d := cmp.Diff([]client.Link{want}, all); d != "" {
		t.Errorf("the links of db (-want +have):\n%s", d)
	}
	if all, err = c.Links(ctx, ""); err != nil || len(all) != 1 {
		t.Errorf("all links: %v, %v", all, err)
	}
	check(c.RemoveLink(ctx, "web", "db"))
	if err := c.RemoveLink(ctx, "web", "db"); !errors.Is(err, bridged.ErrNotFound) {
		t.Errorf("a second removal: %v", err)
	}

	i, err := c.AllocateInterface(ctx, client.InterfaceAllocate{ID: "a key"})
	check(err)
	wantInterface := client.Interface{
		IP: "172.17.0.3", IPPrefixLen: 16, Mask: "255.255.0.0", Gateway: "172.17.42.1", MacAddress: "02:42:ac:11:00:03",
	}
	if d := cmp.Diff(wantInterface, i); d != "" {
		t.Errorf("the interface (-want +have):\n%s", d)
	}
	p, err := c.AllocatePort(ctx, client.PortAllocate{ID: "a key", HostPort: 8080, ContainerPort: 80})
	check(err)
	if p != (client.PortAllocated{HostIP: "0.0.0.0", HostPort: 8080}) {
		t.Errorf("the port: %+v", p)
	}
	check(c.Link(ctx, client.LinkChange{Action: "add", ParentIP: "172.17.0.1", ChildIP: i.IP, Ports: []string{"80"}}))
	check(c.Link(ctx, client.LinkChange{Action: "remove", ParentIP: "172.17.0.1", ChildIP: i.IP}))
	check(c.ReleaseInterface(ctx, "a key"))
	if err := c.ReleaseInterface(ctx, "a key"); !errors.Is(err, bridged.ErrNotFound) {
		t.Errorf("a second release: %v", err)
	}
}
