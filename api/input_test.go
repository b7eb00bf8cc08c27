package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged/client"
)

// TestBadInput: whatever is wrong with a request is said in the answer, with the right status, and nothing is changed.
func TestBadInput(t *testing.T) {
	const create, sandboxes, ports = "/networks/create", "/bridged/v1/sandboxes", "/bridged/v1/ports"
	filter := func(key string, values ...string) string {
		text, _ := json.Marshal(map[string][]string{key: values})
		return "?" + url.Values{"filters": {string(text)}}.Encode()
	}
	config := func(fields string) string { return `{"Container": "web", "EndpointConfig": {` + fields + `}}` }
	network := func(ipam string) string { return `{"Name": "n", "IPAM": {"Config": [` + ipam + `]}}` }
	for _, c := range []struct {
		method, path, body string
		status             int
		message            string // a part of it
	}{
		// Calls that are not there.
		{"GET", "/", "", 404, "no such call: GET /"},
		{"GET", "/bridged/v1/sandbox", "", 404, "no such call"},
		{"GET", "/bridged/v2/status", "", 404, "no such call"},
		{"GET", "/v1.50/bridged/v1/status", "", 404, "no such call"},
		{"GET", "/v2.0/networks", "", 404, "no such call"},
		{"GET", "/networks/", "", 404, "no such call"},
		{"GET", "//networks", "", 404, "no such call"},
		{"PUT", "/networks", "", 405, "method PUT is not possible for /networks: use GET"},
		{"GET", "/bridged/v1/allocate", "", 404, "no such call"},
		{"DELETE", "/bridged/v1/status", "", 405, "use GET, HEAD"},
		{"PATCH", ports, "", 405, "use GET, POST, DELETE, HEAD"},
		{"POST", "/v1.50/containers/create", "{}", 501, "not supported: POST /v1.50/containers/create"},
		{"GET", "/images/json", "", 501, "not supported: GET /images/json"},
		{"GET", "/v1.51/networks", "", 400, "client version 1.51 is too new. Maximum supported API version is 1.50"},
		{"GET", "/v1.99999999999999999999/_ping", "", 400, "is too new"},
		{"GET", "/v1.23/version", "", 400, "client version 1.23 is too old. Minimum supported API version is 1.24"},

		// Queries.
		{"GET", ports + "?sandboks=web", "", 400, `unknown query parameter "sandboks"`},
		{"GET", ports + "?sandbox=", "", 400, `query parameter "sandbox" is empty`},
		{"GET", ports + "?sandbox=%zz", "", 400, "invalid query"},
		{"DELETE", ports + "?port=80", "", 400, `query parameter "sandbox" is missing`},
		{"DELETE", ports + "?sandbox=web", "", 400, `query parameter "port" is missing`},
		{"DELETE", ports + "?sandbox=web&port=80/icmp", "", 400, `invalid protocol "icmp"`},
		{"GET", "/bridged/v1/ruleset?view=all", "", 400, `"view": want desired, kernel or diff, not "all"`},
		{"GET", "/bridged/v1/status?wait=long", "", 400, `"wait": "long" is no duration`},
		{"GET", "/bridged/v1/status?wait=-1s", "", 400, `"wait": "-1s" is no duration`},
		{"GET", "/bridged/v1/events?since=yesterday", "", 400, `"since": "yesterday" is no time: want one as 2026-01-02T15:04:05Z`},
		{"GET", "/bridged/v1/events?since=", "", 400, `"since" is empty`},
		{"GET", "/bridged/v1/events?follow=perhaps", "", 400, `"follow": want true or false, not "perhaps"`},
		{"GET", "/bridged/v1/events?filters={}", "", 400, `unknown query parameter "filters"`},
		{"GET", "/networks?filters=name", "", 400, `invalid filters "name"`},
		{"GET", "/networks?filters=%7B%22color%22%3A%7B%22red%22%3Atrue%7D%7D", "", 400, `invalid filter "color": possible are dangling, driver, id,`},
		{"GET", "/networks" + filter("dangling", "maybe"), "", 400, `invalid filter "dangling"="maybe": want true or 1 or false or 0`},
		{"POST", "/networks/prune" + filter("name", "n"), "", 400, `invalid filter "name": possible are label, label!, until`},
		{"POST", "/networks/prune" + filter("until", "then"), "", 400, `invalid filter "until": "then" is no time`},
		{"POST", "/networks/prune" + filter("until", "1h", "2h"), "", 400, `invalid filter "until": it was given 2 times`},
		{"GET", "/containers/json" + filter("colour", "red"), "", 400, `invalid filter "colour": possible are ancestor, before`},
		{"GET", "/containers/json" + filter("status", "up"), "", 400, `invalid filter "status"="up": want created or`},
		{"GET", "/containers/json" + filter("name", "["), "", 400, `invalid filter "name"="["`},
		{"GET", "/containers/json" + filter("name", strings.Repeat("a?", 200)), "", 400, "400 bytes, at most 255 are possible"},
		{"GET", "/containers/json" + filter("publish", "http"), "", 400, `invalid filter "publish"="http": want a port or a range`},
		{"GET", "/containers/json" + filter("expose", "90-80"), "", 400, `invalid filter "expose"="90-80"`},
		{"GET", "/containers/json" + filter("since", "nobody"), "", 404, "No such container: nobody"},
		{"GET", "/containers/json?limit=all", "", 400, `"limit": want a number, not "all"`},
		{"GET", "/containers/nobody/json", "", 404, "No such container: nobody"},
		{"GET", "/events" + filter("colour", "red"), "", 400, `invalid filter "colour": possible are config, container`},
		{"GET", "/events?since=yesterday", "", 400, `query parameter "since": "yesterday" is no time`},
		{"GET", "/events?since=1h&until=2h", "", 400, `"since" and "until": 1h is after 2h`},
		{"GET", "/networks?filters=%7B%22name%22%3A7%7D", "", 400, `invalid filter "name": want {"VALUE": true}, not 7`},
		{"GET", "/networks?filters=%7B%22type%22%3A%7B%22old%22%3Atrue%7D%7D", "", 400, "want builtin or custom"},
		{"GET", "/networks/bridge?scope=swarm", "", 404, `not found in the scope "swarm"`},

		// Bodies.
		{"POST", create, "", 400, "the body is empty"},
		{"POST", create, "{", 400, "the body is no JSON: unexpected EOF"},
		{"POST", create, `{"Name": "n"`, 400, "the body is no JSON"},
		{"POST", create, `{'Name': "n"}`, 400, "the body is no JSON: invalid character '\\''"},
		{"POST", create, `{"Name": "n"} {"Name": "m"}`, 400, `something behind its JSON object: "{\"Name\"`},
		{"POST", create, `{"Name": "n"}]`, 400, `something behind its JSON object: "]"`},
		{"POST", create, `["n"]`, 400, "must be a JSON object"},
		{"POST", create, "null", 400, "must be a JSON object"},
		{"POST", create, `{"Name": "` + strings.Repeat("n", 1<<20) + `"}`, 400, "the body is too large: at most 1048576 bytes"},
		{"POST", create, `{"Name": 7}`, 400, `field "Name": want a string, not number`},
		{"POST", create, `{"Name": "n", "Internal": "yes"}`, 400, `field "Internal": want true or false, not string`},
		{"POST", create, `{"Name": "n", "Labels": ["a"]}`, 400, `field "Labels": want an object, not array`},
		{"POST", create, `{"Name": "n", "Colour": "red"}`, 400, `unknown or unsupported field "Colour"`},
		{"POST", create, `{"Name": "n", "ConfigFrom": {"Network": "x"}}`, 400, `unknown or unsupported field "ConfigFrom"`},
		{"POST", create, `{"Name": "n", "Attachable": true}`, 400, `unknown or unsupported field "Attachable"`},
		{"POST", create, `{"name": "n"}`, 400, `unknown field "name": did you mean "Name"?`},
		{"POST", create, network(`{"Subnet": "10.0.0.0/24", "Gatway": "10.0.0.1"}`), 400, `field "IPAM.Config[0].Gatway"`},
		{"POST", sandboxes, `{"Name": "s", "Colour": ""}`, 400, `unknown or unsupported field "Colour"`},
		{"POST", sandboxes, `{"Name": "s", "PID": 1.5}`, 400, `field "PID": want a whole number, not number 1.5`},
		{"POST", sandboxes, `{"Name": "s", "Ports": "80"}`, 400, `field "Ports": want an array, not string`},

		// Networks.
		{"POST", create, `{}`, 400, "the network needs a name"},
		{"POST", create, `{"Name": "../x"}`, 400, `invalid network name "../x"`},
		{"POST", create, `{"Name": "` + strings.Repeat("n", 256) + `"}`, 400, "256 bytes, at most 255"},
		{"POST", create, `{"Name": "n", "Scope": "swarm"}`, 400, `field "Scope": "swarm"`},
		{"POST", create, `{"Name": "n", "IPAM": {"Driver": "dhcp"}}`, 400, `field "IPAM.Driver": unknown driver "dhcp"`},
		{"POST", create, `{"Name": "n", "IPAM": {"Options": {"a": "b"}}}`, 400, `field "IPAM.Options": unknown option "a"`},
		{"POST", create, network(`{"Gateway": "10.0.0.1"}`), 400, `field "IPAM.Config[0].Subnet": is missing`},
		{"POST", create, network(`{"Subnet": "10.0.0.0"}`), 400, `field "IPAM.Config[0].Subnet": "10.0.0.0" is no subnet`},
		{"POST", create, network(`{"Subnet": "10.0.0.0/33"}`), 400, `"10.0.0.0/33" is no subnet`},
		{"POST", create, network(`{"Subnet": "::ffff:10.0.0.0/120"}`), 400, "is no subnet"},
		{"POST", create, network(`{"Subnet": "10.0.0.0/24", "IPRange": "10.0.1.0/25"}`), 400,
			`field "IPAM.Config[0].IPRange": 10.0.1.0/25 is not in the subnet 10.0.0.0/24`},
		{"POST", create, network(`{"Subnet": "10.0.0.0/24", "IPRange": "10.0.0.0/16"}`), 400, "is not in the subnet"},
		{"POST", create, network(`{"Subnet": "10.0.0.0/24", "Gateway": "10.0.0"}`), 400, `field "IPAM.Config[0].Gateway": "10.0.0" is no IP address`},
		{"POST", create, network(`{"Subnet": "fe80::/64", "Gateway": "fe80::1%eth0"}`), 400, "is no IP address"},
		{"POST", create, network(`{"Subnet": "10.0.0.0/24", "Gateway": "10.0.1.1"}`), 400, "10.0.1.1 is not in the subnet 10.0.0.0/24"},
		{"POST", create, network(`{"Subnet": "10.0.0.0/24", "AuxiliaryAddresses": {"a": "x"}}`), 400,
			`field "IPAM.Config[0].AuxiliaryAddresses.a": "x" is no IP address`},
		{"POST", create, network(`{"Subnet": "10.0.0.0/24"}, {"Subnet": "10.1.0.0/24"}`), 400,
			`field "IPAM.Config[1].Subnet": 10.0.0.0/24 and 10.1.0.0/24 are of the same family`},
		{"POST", create, `{"Name": "n", "EnableIPv6": false, "IPAM": {"Config": [{"Subnet": "fd00::/64"}]}}`, 400, "can't be with EnableIPv6 false"},
		{"POST", create, `{"Name": "n", "EnableIPv4": false, "IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}]}}`, 400, "can't be with EnableIPv4 false"},
		{"DELETE", "/networks/%2e%2e%2fx", "", 404, "network ../x not found"},

		{"POST", create, `{"Name": "host"}`, 403, "exists"},
		{"POST", create, `{"Name": "n", "Driver": "overlay"}`, 404, `driver "overlay" not found`},
		{"POST", create, `{"Name": "n", "Driver": "host"}`, 400, `driver "host"`},

		// Joining and leaving networks.
		{"POST", "/networks/bridge/connect", `{}`, 400, `field "Container": is missing`},
		{"POST", "/networks/bridge/connect", `{"Container": "web"}`, 404, "sandbox web not found"},
		{"POST", "/networks/bridge/connect", `{"Sandbox": "web"}`, 400, `unknown or unsupported field "Sandbox": possible are Container, EndpointConfig`},
		{"POST", "/networks/bridge/connect", config(`"Links": ["a:b"]`), 400, `unknown or unsupported field "EndpointConfig.Links"`},
		{"POST", "/networks/bridge/connect", config(`"IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]}`), 400, `field "EndpointConfig.IPAMConfig.LinkLocalIPs"`},
		{"POST", "/networks/bridge/connect", config(`"IPAMConfig": {"IPv4Address": "fd00::1"}`), 400, `field "EndpointConfig.IPAMConfig.IPv4Address": fd00::1 is no IPv4`},
		{"POST", "/networks/bridge/connect", config(`"IPAMConfig": {"IPv6Address": "fd00"}`), 400, `field "EndpointConfig.IPAMConfig.IPv6Address": "fd00" is no IP`},
		{"POST", "/networks/bridge/connect", config(`"MacAddress": "02"`), 400, `field "EndpointConfig.MacAddress": invalid MAC address "02"`},
		{"POST", "/networks/bridge/connect", config(`"GwPriority": "1"`), 400, `field "EndpointConfig.GwPriority": want a whole number, not string`},
		{"DELETE", "/networks/10.99.0.0%2F24", ``, 404, "network 10.99.0.0/24 not found"}, // the id of a reservation has a slash
		{"POST", "/networks/bridge/disconnect", `{"Force": true}`, 400, `field "Container": is missing`},
		{"POST", "/networks/bridge/disconnect", `{"Container": "web", "Force": true}`, 404, "sandbox web not found"},

		// Sandboxes.
		{"POST", sandboxes, `{}`, 400, "the sandbox needs a name"},
		{"POST", sandboxes, `{"Name": "a b"}`, 400, `invalid sandbox name "a b"`},
		{"POST", sandboxes, `{"Name": "s", "Network": "container:"}`, 400, `field "Network": "container:" is no network's name or id, bridge, host, none or container:NAME`},
		{"POST", sandboxes, `{"Name": "s", "NetNS": "x"}`, 400, `field "NetNS": "x" must be an absolute path`},
		{"POST", sandboxes, `{"Name": "s", "NetNS": "/proc/self/ns/net"}`, 400, "would be the daemon's own"},
		{"POST", sandboxes, `{"Name": "s", "NetNS": "/proc//thread-self/../self/ns/net"}`, 400, "would be the daemon's own"},
		{"POST", sandboxes, `{"Name": "s", "NetNS": "/x", "PID": 7}`, 400, "give one of them"},
		{"POST", sandboxes, `{"Name": "s", "PID": -7}`, 400, `field "PID": -7 is no process id`},
		{"POST", sandboxes, `{"Name": "s", "IPv4Address": "fd00::1"}`, 400, `field "IPv4Address": fd00::1 is no IPv4 address`},
		{"POST", sandboxes, `{"Name": "s", "IPv6Address": "10.0.0.1"}`, 400, `field "IPv6Address": 10.0.0.1 is no IPv6 address`},
		{"POST", sandboxes, `{"Name": "s", "IPv6Address": "::ffff:10.0.0.1"}`, 400, "is no IPv6 address"},
		{"POST", sandboxes, `{"Name": "s", "MacAddress": "02:42"}`, 400, `field "MacAddress": invalid MAC address "02:42"`},
		{"POST", sandboxes, `{"Name": "s", "Ports": ["80", "x"]}`, 400, `invalid port specification "x"`},

		// Ports.
		{"POST", ports, `{"Ports": ["80"]}`, 400, `field "Sandbox": is missing`},
		{"POST", ports, `{"Sandbox": "web"}`, 400, `field "Ports": is empty`},
		{"POST", ports, `{"Sandbox": "nobody", "Ports": ["80"]}`, 404, "sandbox nobody not found"},
		{"POST", ports, `{"Sandbox": "web", "Ports": ["8000-8001:80-82"]}`, 400, "the ranges must have the same size"},
	} {
		name := fmt.Sprintf("%s %s %.60s", c.method, c.path, c.body)
		t.Run(name, func(t *testing.T) {
			s := ready(t)
			before := s.engine.Status()
			x := s.do(c.method, c.path, c.body)
			var e client.Error
			if err := json.Unmarshal([]byte(x.answer), &e); err != nil {
				t.Fatalf("status %d, answer %q: %v", x.status, x.answer, err)
			}
			if x.status != c.status || !strings.Contains(e.Message, c.message) || e.Code == "" {
				t.Errorf("have %d %q (%s)\nwant %d %q", x.status, e.Message, e.Code, c.status, c.message)
			}
			if d := cmp.Diff(before, s.engine.Status()); d != "" {
				t.Errorf("something changed:\n%s", d)
			}
		})
	}
}

// TestContentType: what says that it is no JSON is not read as JSON.
func TestContentType(t *testing.T) {
	s := ready(t)
	for contentType, want := range map[string]int{
		"":                                  201,
		"application/json":                  201,
		"application/json; charset=utf-8":   201,
		"text/plain":                        400,
		"application/x-www-form-urlencoded": 400,
		";":                                 400,
	} {
		name := fmt.Sprintf("n%d", len(contentType))
		if x := s.doAs(contentType, "POST", "/networks/create", `{"Name": "`+name+`"}`); x.status != want {
			t.Errorf("Content-Type %q: status %d, want %d: %s", contentType, x.status, want, x.answer)
		}
	}
}

// TestFilters: Docker's network filters.
func TestFilters(t *testing.T) {
	s := ready(t)
	for _, body := range []string{`{"Name": "red", "Labels": {"tier": "db", "x": ""}}`, `{"Name": "redder", "Labels": {"tier": "web"}}`} {
		if x := s.do("POST", "/networks/create", body); x.status != 201 {
			t.Fatal(x.answer)
		}
	}
	for filters, want := range map[string]string{
		`{}`:                                    "bridge host none red redder",
		`{"name":{"red":true}}`:                 "red redder",
		`{"name":["dder"]}`:                     "redder",
		`{"name":{"red":false}}`:                "bridge host none red redder",
		`{"driver":{"host":true,"null":true}}`:  "host none",
		`{"type":{"builtin":true}}`:             "bridge host none",
		`{"type":{"custom":true}}`:              "red redder",
		`{"label":{"tier=db":true}}`:            "red",
		`{"label":{"tier":true}}`:               "red redder",
		`{"label":{"tier":true,"x":true}}`:      "red",
		`{"scope":{"swarm":true}}`:              "",
		`{"id":{"6b86b273":true}}`:              "bridge",
		`{"name":["red"],"label":["tier=web"]}`: "redder",
	} {
		var list []client.Network
		x := s.do("GET", "/networks?filters="+strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22").Replace(filters), "")
		if err := json.Unmarshal([]byte(x.answer), &list); err != nil {
			t.Fatal(x.answer, err)
		}
		var names []string
		for _, n := range list {
			names = append(names, n.Name)
		}
		if have := strings.Join(names, " "); have != want {
			t.Errorf("%s: have %q, want %q", filters, have, want)
		}
	}
}
