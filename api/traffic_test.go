package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/api"
)

// The scenario whose answers are testdata/traffic.golden. UPDATE=1 writes the file.
var scenario = []struct{ method, path, body string }{
	{"GET", "/_ping", ""},
	{"GET", "/version", ""},
	{"GET", "/bridged/v1/version", ""},
	{"GET", "/bridged/v1/status", ""},

	{"POST", "/networks/create", `{"Name": "plain"}`},
	{"POST", "/v1.50/networks/create", `{"Name": "full", "Driver": "bridge", "Scope": "", "EnableIPv4": null, "EnableIPv6": true,
  "IPAM": {"Driver": "default", "Options": {}, "Config": [
    {"Subnet": "192.168.1.77/24", "IPRange": "192.168.1.128/25", "Gateway": "192.168.1.254", "AuxiliaryAddresses": {"printer": "192.168.1.9"}},
    {"Subnet": "fd00:7::/64"}]},
  "Internal": true, "Attachable": false, "Ingress": false, "ConfigOnly": false, "ConfigFrom": null,
  "Options": {"com.docker.network.bridge.enable_icc": "false"}, "Labels": {"tier": "db"}}`},
	{"POST", "/networks/create", `{"Name": "plain"}`},
	{"POST", "/networks/create", `{"Name": "other", "Driver": "overlay"}`},
	{"GET", "/networks", ""},

	{"POST", "/bridged/v1/sandboxes", `{"Name": "web", "Ports": ["8080:80", "127.0.0.1:53:53/udp"]}`},
	{"POST", "/bridged/v1/sandboxes", `{"Name": "db", "Network": "full", "NetNS": "/run/netns/other", "IPv4Address": "192.168.1.130",
  "IPv6Address": "fd00:7::30", "MacAddress": "02:00:00:00:00:09", "Ports": ["5432", "[::]:5433:5433"]}`},
	{"POST", "/bridged/v1/sandboxes", `{"Name": "local", "Network": "host"}`},
	{"POST", "/bridged/v1/sandboxes", `{"Name": "second", "Ports": ["8080:80"]}`},
	{"GET", "/bridged/v1/sandboxes", ""},
	{"GET", "/bridged/v1/sandboxes/web", ""},
	{"GET", "/bridged/v1/sandboxes/nobody", ""},
	{"GET", "/v1.41/networks/full?verbose=false&scope=", ""},
	{"GET", "/networks/nothing", ""},

	{"POST", "/v1.50/networks/full/connect", `{"Container": "web", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "192.168.1.140", "IPv6Address": "fd00:7::40",
  "LinkLocalIPs": null}, "Links": null, "Aliases": ["www", "front"], "MacAddress": "02:00:00:00:00:40",
  "DriverOpts": {"com.docker.network.endpoint.ifname": "up0"}, "GwPriority": 7, "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "",
  "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null}}`},
	{"POST", "/networks/full/connect", `{"Container": "web"}`},
	{"POST", "/networks/full/connect", `{"Container": "nobody"}`},
	{"POST", "/networks/nothing/connect", `{"Container": "web", "EndpointConfig": null}`},
	{"POST", "/networks/host/connect", `{"Container": "web"}`},
	{"GET", "/v1.43/containers/json?all=1&limit=2&size=0", ""},
	{"GET", "/containers/json?filters=%7B%22network%22%3A%7B%22full%22%3Atrue%7D%2C%22publish%22%3A%5B%228080%22%5D%7D", ""},
	{"GET", "/v1.50/containers/web/json?size=1", ""},
	{"GET", "/containers/local/json", ""},
	{"GET", "/containers/nobody/json", ""},
	{"GET", "/info", ""},
	{"POST", "/v1.41/networks/plain/connect", `{"Container": "web", "EndpointConfig": {}}`},
	{"POST", "/v1.41/networks/plain/disconnect", `{"Container": "web", "Force": true}`},
	{"POST", "/v1.41/networks/plain/disconnect", `{"Container": "web", "Force": false}`},
	{"DELETE", "/networks/full", ""},
	{"POST", "/networks/full/disconnect", `{"Container": "web"}`},
	{"DELETE", "/networks/bridge", ""},

	{"POST", "/bridged/v1/ports", `{"Sandbox": "db", "Ports": ["6000-6001:6000-6001"]}`},
	{"GET", "/bridged/v1/ports", ""},
	{"GET", "/bridged/v1/ports?sandbox=web", ""},
	{"DELETE", "/bridged/v1/ports?sandbox=web&port=8080:80&port=53/udp", ""},
	{"DELETE", "/bridged/v1/ports?sandbox=web&port=8080:80", ""},
	{"GET", "/bridged/v1/ports?sandbox=web", ""},

	{"POST", "/bridged/v1/links", `{"Parent": "web", "Child": "db", "Ports": ["5432", "53/udp"]}`},
	{"POST", "/bridged/v1/links", `{"Parent": "db", "Child": "web", "Alias": "front"}`},
	{"POST", "/bridged/v1/links", `{"Parent": "db", "Child": "web"}`},
	{"GET", "/bridged/v1/sandboxes/web", ""},

	{"POST", "/bridged/v1/allocate_interface", `{"ID": "plugin-7", "Network": "full", "RequestedIPv6": "fd00:7::77", "RequestedMac": "02:00:00:00:00:77"}`},
	{"POST", "/bridged/v1/allocate_interface", `{"ID": "plugin-8"}`},
	{"POST", "/bridged/v1/allocate_interface", `{"ID": "plugin-8"}`},
	{"POST", "/bridged/v1/allocate_port", `{"ID": "plugin-8", "ContainerPort": 80}`},
	{"POST", "/bridged/v1/allocate_port", `{"ID": "plugin-8", "HostIP": "127.0.0.1", "HostPort": 5353, "ContainerPort": 53, "Proto": "udp"}`},
	{"POST", "/bridged/v1/link", `{"Action": "add", "ParentIP": "172.17.0.2", "ChildIP": "172.17.0.1", "Ports": ["80/tcp"]}`},
	{"GET", "/bridged/v1/links", ""},
	{"GET", "/bridged/v1/links?sandbox=db", ""},
	{"POST", "/bridged/v1/link", `{"Action": "remove", "ParentIP": "172.17.0.2", "ChildIP": "172.17.0.1"}`},
	{"POST", "/bridged/v1/link", `{"Action": "remove", "ParentIP": "172.17.0.2", "ChildIP": "172.17.0.99"}`},
	{"DELETE", "/bridged/v1/links?parent=db&child=web", ""},
	{"DELETE", "/bridged/v1/links?parent=db&child=web", ""},
	{"POST", "/bridged/v1/release_interface", `{"ID": "plugin-8"}`},
	{"POST", "/bridged/v1/release_interface", `{"ID": "plugin-8"}`},
	{"POST", "/bridged/v1/release_interface", `{"ID": "plugin-7"}`},

	{"POST", "/bridged/v1/attachments", `{"Key": {"Network": "podnet", "Container": "4f1c", "Interface": "eth0"}, "NetNS": "/run/netns/4f1c",
  "Network": {"Bridge": "cni0", "MTU": 1450, "IPv4": {"Prefix": "10.88.0.0/16", "Ranges": [{"First": "10.88.0.10", "Last": ""}]}, "IPv6": {"Prefix": "fd00:88::/64"},
  "Gateway": true, "Masquerade": true, "SourceGuard": true, "Isolated": true, "Ingress": "isolated", "Sources": ["192.0.2.0/24"]},
  "IPs": ["10.88.0.20"], "MAC": "02:00:00:00:00:20", "DefaultRoute": true, "Hairpin": true,
  "Inside": {"Routes": [{"Dst": "10.99.0.0/16", "MTU": 1400, "Priority": 7, "Table": 500}], "MTU": 1400, "Promisc": true, "DAD": true},
  "Sysctls": {"net.ipv4.conf.IFNAME.arp_notify": "1"}, "Ports": [{"HostIP": "127.0.0.1", "HostPort": {"First": 8088, "Last": 8088}, "ContainerPort": 80, "Proto": "tcp"}],
  "Bandwidth": {"Ingress": {"Rate": 8000000, "Burst": 800000}, "Egress": {"Rate": 8000000, "Burst": 800000}},
  "Aliases": ["www"], "Labels": {"K8S_POD_NAME": "web-0"}}`},
	{"POST", "/bridged/v1/attachments", `{"Key": {"Network": "podnet", "Container": "4f1c", "Interface": "eth0"}, "NetNS": "/run/netns/4f1c", "Network": {}}`},
	{"POST", "/bridged/v1/attachments", `{"Key": {"Network": "podnet", "Container": "5e2d", "Interface": "eth0"}, "NetNS": "/run/netns/5e2d"}`},
	{"POST", "/bridged/v1/attachments/check", `{"Key": {"Network": "podnet", "Container": "4f1c", "Interface": "eth0"}, "NetNS": "/run/netns/4f1c"}`},
	{"POST", "/bridged/v1/attachments/check", `{"Key": {"Network": "podnet", "Container": "4f1c", "Interface": "eth1"}, "NetNS": "/run/netns/4f1c"}`},
	{"GET", "/bridged/v1/sandboxes/4f1c", ""},
	{"POST", "/bridged/v1/attachments/collect", `{"Network": "podnet", "Valid": [{"Network": "", "Container": "4f1c", "Interface": "eth0"}]}`},
	{"DELETE", "/bridged/v1/attachments?network=podnet&container=4f1c&interface=eth0", ""},
	{"DELETE", "/bridged/v1/attachments?network=podnet&container=4f1c&interface=eth0", ""},
	{"DELETE", "/bridged/v1/attachments?network=podnet&container=4f1c", ""},

	{"GET", "/bridged/v1/ruleset", ""},
	{"GET", "/bridged/v1/ruleset?view=diff", ""},

	{"DELETE", "/bridged/v1/sandboxes/db", ""},
	{"DELETE", "/bridged/v1/sandboxes/db", ""},
	{"DELETE", "/networks/full", ""},
	{"GET", "/networks?filters=%7B%22name%22%3A%7B%22plain%22%3Atrue%7D%7D", ""},
	{"POST", "/v1.50/networks/prune?filters=%7B%22label%22%3A%7B%22tier%22%3Atrue%7D%7D", ""},
	{"POST", "/v1.50/networks/prune?filters=%7B%7D", ""},
	{"GET", "/v1.50/events?since=0&until=1s", ""},
	{"GET", "/events?since=0&until=1s&filters=%7B%22type%22%3A%7B%22network%22%3Atrue%7D%2C%22event%22%3A%7B%22connect%22%3Atrue%7D%7D", ""},
	{"GET", "/bridged/v1/events?follow=false", ""},
	{"GET", "/bridged/v1/events?follow=false&since=2026-01-02T15:04:08Z", ""},
	{"GET", "/bridged/v1/status?wait=1s", ""},
}

// TestTraffic holds each wire shape against a golden file, and the document against the traffic, and the table against the
// document.
func TestTraffic(t *testing.T) {
	s := ready(t)
	s.engine.Warn("the first warning", "the second one")
	s.engine.SetRuleset(bridged.RulesetKernel, "table inet bridged {\n}\n")
	s.engine.SetRuleset(bridged.RulesetDiff, "+ add table ip6 <other> && more\n")
	doc := readDocument(t)

	var text strings.Builder
	var answered []string
	for _, step := range scenario {
		x := s.do(step.method, step.path, step.body)
		fmt.Fprintf(&text, "### %s %s\n", step.method, step.path)
		if step.body != "" {
			fmt.Fprintf(&text, "%s\n", step.body)
		}
		fmt.Fprintf(&text, "--> %d %s\n%s\n", x.status, x.header.Get("Content-Type"), indented(x.answer))
		name, err := doc.check(x)
		if err != nil {
			t.Error(err)
		}
		if x.status < 300 {
			answered = append(answered, name)
		}
	}
	golden(t, "testdata/traffic.golden", hideMachine(text.String()))

	want := slices.Sorted(slices.Values(api.Routes()))
	if d := cmp.Diff(want, doc.operations()); d != "" {
		t.Errorf("the document describes other calls than the server has (-server +document):\n%s", d)
	}
	slices.Sort(answered)
	if d := cmp.Diff(want, slices.Compact(answered)); d != "" {
		t.Errorf("the scenario must have each call answered once (-server +scenario):\n%s", d)
	}
}

// indented is a JSON text for a reader, and anything else as it is.
func indented(text string) string {
	var buf bytes.Buffer
	if json.Indent(&buf, []byte(text), "", "  ") != nil {
		return text
	}
	return strings.TrimSpace(buf.String())
}

// hideMachine replaces what is this machine's and this build's.
func hideMachine(text string) string {
	text = regexp.MustCompile(`"Name": "[^"]*",\n  "ServerVersion"`).ReplaceAllString(text, "\"Name\": \"…\",\n  \"ServerVersion\"")
	text = regexp.MustCompile(`"NCPU": [0-9]+`).ReplaceAllString(text, `"NCPU": "…"`)
	text = regexp.MustCompile(`"Status": "Up [^"]*"`).ReplaceAllString(text, `"Status": "Up …"`)
	for _, field := range []string{"GitCommit", "GoVersion", "Os", "Arch", "KernelVersion", "SystemTime", "Architecture"} {
		text = regexp.MustCompile(`"`+field+`": "[^"]*"`).ReplaceAllString(text, `"`+field+`": "…"`)
	}
	return text
}

func golden(t *testing.T, path, have string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), have); d != "" {
		t.Errorf("%s (-want +have):\n%s", path, d)
	}
}

// TestErrorsAreDescribed: each kind of error has a status that the document knows, and comes back as that kind.
func TestErrorsAreDescribed(t *testing.T) {
	s := ready(t)
	doc := readDocument(t)
	for kind, status := range map[error]int{
		bridged.ErrInvalid: 400, bridged.ErrDenied: 403, bridged.ErrNotFound: 404, bridged.ErrConflict: 409,
		bridged.ErrUnavailable: 503, fmt.Errorf("no kind"): 500,
	} {
		s.engine.Fail(fmt.Errorf("cannot do it: %w", bridged.Errorf(kind, "because of %v", kind)))
		for _, x := range []exchange{
			s.do(http.MethodPost, "/networks/create", `{"Name": "n"}`),
			s.do(http.MethodDelete, "/networks/n", ""),
			s.do(http.MethodPost, "/networks/n/connect", `{"Container": "s"}`),
			s.do(http.MethodPost, "/networks/n/disconnect", `{"Container": "s"}`),
			s.do(http.MethodPost, "/bridged/v1/sandboxes", `{"Name": "s"}`),
			s.do(http.MethodDelete, "/bridged/v1/sandboxes/s", ""),
			s.do(http.MethodDelete, "/bridged/v1/ports?sandbox=s&port=80", ""),
			s.do(http.MethodPost, "/bridged/v1/links", `{"Parent": "a", "Child": "b"}`),
			s.do(http.MethodDelete, "/bridged/v1/links?parent=a&child=b", ""),
			s.do(http.MethodPost, "/bridged/v1/allocate_interface", `{"ID": "s"}`),
			s.do(http.MethodPost, "/bridged/v1/release_interface", `{"ID": "s"}`),
			s.do(http.MethodPost, "/bridged/v1/attachments/check", `{"Key": {"Network": "n", "Container": "c", "Interface": "eth0"}, "NetNS": "/n"}`),
			s.do(http.MethodPost, "/bridged/v1/attachments/collect", `{"Network": "n"}`),
			s.do(http.MethodDelete, "/bridged/v1/attachments?network=n&container=c&interface=eth0", ""),
			s.do(http.MethodPost, "/bridged/v1/allocate_port", `{"ID": "s", "ContainerPort": 80}`),
			s.do(http.MethodPost, "/bridged/v1/link", `{"Action": "add", "ParentIP": "10.0.0.2", "ChildIP": "10.0.0.3"}`),
		} {
			want := status
			if strings.HasPrefix(x.path, "/networks/n") && kind == bridged.ErrConflict {
				want = http.StatusForbidden // as Docker's
			}
			if x.status != want {
				t.Errorf("%s %s: status %d for %v, want %d", x.method, x.path, x.status, kind, want)
			}
			if _, err := doc.check(x); err != nil {
				t.Error(err)
			}
			text := fmt.Sprintf(`{"message":"cannot do it: because of %v","code":"%s"}`+"\n", kind, bridged.Code(kind))
			if x.answer != text {
				t.Errorf("%s %s: have %s want %s", x.method, x.path, x.answer, text)
			}
		}
	}
}
