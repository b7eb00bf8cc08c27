package test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The JSON of the commands has exactly the documented keys, with values of the documented form.
func TestJSON(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	w.bridged("network", "create", "--subnet", "10.7.0.0/24", "--gateway", "10.7.0.1", "--ip-range", "10.7.0.128/25",
		"--aux-address", "printer=10.7.0.200", "--label", "tier=db", "mine")
	w.create("-p", "8080:80", "web")
	w.create("--network", "mine", "-p", "127.0.0.1:53:53/udp", "db")

	web := w.raw(t, "sandbox", "inspect", "web")
	keys(t, "sandbox", web, "Id", "Links", "Mode", "Name", "NetNS", "Networks", "Ports")
	networks := web["Networks"].(map[string]any)
	keys(t, "sandbox's networks", networks, "bridge")
	keys(t, "endpoint", networks["bridge"].(map[string]any), "Aliases", "EndpointID", "Gateway", "GlobalIPv6Address",
		"GlobalIPv6PrefixLen", "HostInterface", "IPAddress", "IPPrefixLen", "IPv6Gateway", "Interface", "MacAddress", "NetworkID")
	same(t, "ports", `{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}]}`, text(t, web["Ports"]))
	same(t, "links and aliases", `[[],[]]`, text(t, []any{web["Links"], networks["bridge"].(map[string]any)["Aliases"]}))
	db := w.raw(t, "sandbox", "inspect", "db")["Networks"].(map[string]any)["mine"].(map[string]any)
	same(t, "an endpoint without IPv6", `["",0,"","10.7.0.128",24,"10.7.0.1"]`, text(t, []any{db["GlobalIPv6Address"],
		db["GlobalIPv6PrefixLen"], db["IPv6Gateway"], db["IPAddress"], db["IPPrefixLen"], db["Gateway"]}))

	same(t, "port ls", `[{"HostIp":"127.0.0.1","HostPort":"53","Port":"53/udp","Sandbox":"db"}]`,
		text(t, decode[any](w, "port", "ls", "--json", "db")))

	status := decode[map[string]any](w, "status", "--json")
	keys(t, "status", status, "Endpoints", "ICCBy", "Networks", "Ports", "Protection", "Ready", "Repairs", "Sandboxes",
		"Since", "Transactions", "Version", "Warnings")
	same(t, "counts", `[4,2,2,3,0,[]]`, text(t, []any{status["Networks"], status["Sandboxes"], status["Endpoints"],
		status["Ports"], status["Repairs"], status["Warnings"]}))

	w.networkJSON(t)
}

// networkJSON checks `network inspect`, and `network ls` against it.
func (w *world) networkJSON(t *testing.T) {
	t.Helper()
	mine := w.raw(t, "network", "inspect", "mine")
	keys(t, "network", mine, "Containers", "Created", "Driver", "EnableIPv4", "EnableIPv6", "IPAM", "Id", "Internal", "Labels",
		"Name", "Options", "Scope")
	same(t, "network", `["mine","local","bridge",true,false,false,{"tier":"db"}]`, text(t, []any{mine["Name"], mine["Scope"],
		mine["Driver"], mine["EnableIPv4"], mine["EnableIPv6"], mine["Internal"], mine["Labels"]}))
	ipam := mine["IPAM"].(map[string]any)
	keys(t, "IPAM", ipam, "Config", "Driver", "Options")
	same(t, "IPAM config", `[{"AuxiliaryAddresses":{"printer":"10.7.0.200"},"Gateway":"10.7.0.1","IPRange":"10.7.0.128/25","Subnet":"10.7.0.0/24"}]`,
		text(t, ipam["Config"]))
	containers := mine["Containers"].(map[string]any)
	id := w.inspect("db").ID
	keys(t, "network's containers", containers, id)
	member := containers[id].(map[string]any)
	keys(t, "network's container", member, "EndpointID", "IPv4Address", "IPv6Address", "MacAddress", "Name")
	same(t, "member", `["db","10.7.0.128/24","","02:42:0a:07:00:80"]`,
		text(t, []any{member["Name"], member["IPv4Address"], member["IPv6Address"], member["MacAddress"]}))
	for _, name := range []string{"bridge", "host", "none"} {
		n := w.raw(t, "network", "inspect", name)
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(n["Id"].(string)) || n["Name"] != name {
			t.Errorf("network %s: %v", name, n)
		}
	}
	same(t, "subnet of the default network", `"172.17.0.0/16"`,
		text(t, w.raw(t, "network", "inspect", "bridge")["IPAM"].(map[string]any)["Config"].([]any)[0].(map[string]any)["Subnet"]))

	table := lines(w.bridged("network", "ls"))
	if got := strings.Join(strings.Fields(table[0]), " "); got != "NETWORK ID NAME DRIVER SCOPE" || len(table) != 5 {
		t.Errorf("network ls: %q", table)
	}
	var names []string
	for _, n := range decode[[]map[string]any](w, "network", "ls", "--json") {
		names = append(names, n["Name"].(string))
	}
	same(t, "network ls --json against inspect", w.bridged("network", "ls", "--json"),
		w.bridged(append([]string{"network", "inspect"}, names...)...))
}

// raw is the one object that a command prints in an array.
func (w *world) raw(t *testing.T, args ...string) map[string]any {
	t.Helper()
	all := decode[[]map[string]any](w, args...)
	if len(all) != 1 {
		t.Fatalf("%v prints %d objects", args, len(all))
	}
	return all[0]
}

// keys checks an object's keys.
func keys(t *testing.T, what string, object map[string]any, want ...string) {
	t.Helper()
	if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, want) {
		t.Errorf("%s has the keys %q, want %q", what, got, want)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
