package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged/client"
)

// documented are the objects of Docker's API as its reference describes them for the versions 1.43 to 1.50: each field with the type of its
// values. "?" behind a type: it may be null or missing; "[T]" is an array and "{T}" an object by any names. What is in here and not in our
// answers is about images, processes, swarms, or what only other systems have: the schema is open, and clients take it for zero.
var documented = map[string]map[string]string{
	"Error":  {"message": "string"},
	"Create": {"Id": "string", "Warning": "string"},
	"Network": {
		"Name": "string", "Id": "string", "Created": "string", "Scope": "string", "Driver": "string", "EnableIPv4": "bool?", "EnableIPv6": "bool", "IPAM": "IPAM",
		"Internal": "bool", "Attachable": "bool?", "Ingress": "bool?", "ConfigFrom": "any?", "ConfigOnly": "bool?", "Containers": "{NetworkContainer}",
		"Options": "{string}", "Labels": "{string}", "Peers": "any?",
	},
	"IPAM":             {"Driver": "string", "Config": "[IPAMConfig]", "Options": "{string}"},
	"IPAMConfig":       {"Subnet": "string", "IPRange": "string?", "Gateway": "string?", "AuxiliaryAddresses": "{string}?"},
	"NetworkContainer": {"Name": "string", "EndpointID": "string", "MacAddress": "string", "IPv4Address": "string", "IPv6Address": "string"},
	"Prune":            {"NetworksDeleted": "[string]"},
	"Version": {
		"Platform": "Platform", "Components": "any?", "Version": "string", "ApiVersion": "string", "MinAPIVersion": "string", "GitCommit": "string",
		"GoVersion": "string", "Os": "string", "Arch": "string", "KernelVersion": "string", "Experimental": "bool?", "BuildTime": "string?",
	},
	"Platform": {"Name": "string"},
	"Event":    {"Type": "string", "Action": "string", "Actor": "Actor", "scope": "string", "time": "number", "timeNano": "number"},
	"Actor":    {"ID": "string", "Attributes": "{string}"},
	"Summary": {
		"Id": "string", "Names": "[string]", "Image": "string", "ImageID": "string", "ImageManifestDescriptor": "any?", "Command": "string", "Created": "number",
		"Ports": "[Port]", "SizeRw": "number?", "SizeRootFs": "number?", "Labels": "{string}", "State": "string", "Status": "string",
		"HostConfig": "SummaryHost", "NetworkSettings": "SummaryNetworks", "Mounts": "[any]",
	},
	"Port":            {"IP": "string?", "PrivatePort": "number", "PublicPort": "number?", "Type": "string"},
	"SummaryHost":     {"NetworkMode": "string", "Annotations": "any?"},
	"SummaryNetworks": {"Networks": "{Endpoint}"},
	"Endpoint": {
		"IPAMConfig": "any?", "Links": "[string]?", "MacAddress": "string", "Aliases": "[string]?", "DriverOpts": "{string}?", "GwPriority": "number",
		"NetworkID": "string", "EndpointID": "string", "Gateway": "string", "IPAddress": "string", "IPPrefixLen": "number", "IPv6Gateway": "string",
		"GlobalIPv6Address": "string", "GlobalIPv6PrefixLen": "number", "DNSNames": "[string]?",
	},
	"Container": {
		"Id": "string", "Created": "string?", "Path": "string", "Args": "[string]", "State": "State", "Image": "string", "ResolvConfPath": "string?",
		"HostnamePath": "string?", "HostsPath": "string?", "LogPath": "string?", "Name": "string", "RestartCount": "number", "Driver": "string",
		"Platform": "string", "MountLabel": "string?", "ProcessLabel": "string?", "AppArmorProfile": "string?", "ExecIDs": "[string]?",
		"HostConfig": "HostConfig", "GraphDriver": "any?", "Mounts": "[any]", "Config": "Config", "NetworkSettings": "NetworkSettings",
	},
	"State": {
		"Status": "string", "Running": "bool", "Paused": "bool", "Restarting": "bool", "OOMKilled": "bool", "Dead": "bool", "Pid": "number",
		"ExitCode": "number", "Error": "string", "StartedAt": "string", "FinishedAt": "string", "Health": "any?",
	},
	"HostConfig": {"NetworkMode": "string", "PortBindings": "{[Binding]}"},
	"Binding":    {"HostIp": "string", "HostPort": "string"},
	"Config":     {"Hostname": "string", "ExposedPorts": "{any}", "Image": "string", "Labels": "{string}"},
	"NetworkSettings": {
		"Bridge": "string", "SandboxID": "string", "HairpinMode": "bool?", "LinkLocalIPv6Address": "string?", "LinkLocalIPv6PrefixLen": "number?",
		"Ports": "{[Binding]}", "SandboxKey": "string", "SecondaryIPAddresses": "any?", "SecondaryIPv6Addresses": "any?", "EndpointID": "string",
		"Gateway": "string", "GlobalIPv6Address": "string", "GlobalIPv6PrefixLen": "number", "IPAddress": "string", "IPPrefixLen": "number",
		"IPv6Gateway": "string", "MacAddress": "string", "Networks": "{Endpoint}",
	},
	"Info": {
		"Name": "string", "ServerVersion": "string", "Containers": "number", "ContainersRunning": "number", "ContainersPaused": "number",
		"ContainersStopped": "number", "Images": "number", "Driver": "string", "Plugins": "Plugins", "SystemTime": "string", "KernelVersion": "string",
		"OSType": "string", "Architecture": "string", "NCPU": "number", "Swarm": "Swarm", "Warnings": "[string]",
	},
	"Plugins": {"Volume": "[string]", "Network": "[string]", "Authorization": "[string]?", "Log": "[string]"},
	"Swarm":   {"LocalNodeState": "string"},
}

// conforms holds a value against a documented type.
func conforms(value any, kind, path string) error {
	bare, optional := strings.CutSuffix(kind, "?")
	switch v := value.(type) {
	case nil:
		if optional {
			return nil
		}
	case bool:
		if bare == "bool" || bare == "any" {
			return nil
		}
	case float64:
		if bare == "number" || bare == "any" {
			return nil
		}
	case string:
		if bare == "string" || bare == "any" {
			return nil
		}
	case []any:
		inner, ok := strings.CutPrefix(bare, "[")
		if !ok && bare != "any" {
			break
		}
		for i, e := range v {
			if err := conforms(e, strings.TrimSuffix(inner, "]"), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		return conformsObject(v, bare, path)
	}
	return fmt.Errorf("%s: %v is no %s", path, value, kind)
}

func conformsObject(object map[string]any, kind, path string) error {
	inner, named := strings.CutPrefix(kind, "{")
	fields := documented[kind]
	if !named && fields == nil {
		return fmt.Errorf("%s: an object instead of %s", path, kind)
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		want := fields[name]
		if named {
			want = strings.TrimSuffix(inner, "}")
		}
		switch {
		case want == "any": // of these only the names matter
		case want == "":
			return fmt.Errorf("%s: Docker's %s has no field %s", path, kind, name)
		default:
			if err := conforms(object[name], want, path+"."+name); err != nil {
				return err
			}
		}
	}
	for name, want := range fields {
		if _, ok := object[name]; !ok && !strings.HasSuffix(want, "?") {
			return fmt.Errorf("%s: %s is missing", path, name)
		}
	}
	return nil
}

// TestConformance: each answer to a call of Docker's has the fields that Docker's reference gives it, with values of their types, and no
// others; each status is one that it lists for the call; the error's code is the only thing that is ours.
func TestConformance(t *testing.T) {
	s := ready(t)
	s.engine.Warn("a warning")
	for _, c := range []struct {
		method, path, body string
		status             int
		kind               string // of the answer; "" none, "lines T": a T a line
	}{
		{"GET", "/version", "", 200, "Version"},
		{"GET", "/info", "", 200, "Info"},
		{"POST", "/networks/create", `{"Name": "n", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.0/25", "AuxiliaryAddresses": {"a": "10.9.0.9"}}]},
			"EnableIPv6": true, "Labels": {"a": "b"}, "Options": {"c": "d"}}`, 201, "Create"},
		{"POST", "/networks/create", `{"Name": "empty"}`, 201, "Create"},
		{"POST", "/networks/create", `{"Name": ""}`, 400, "Error"},
		{"POST", "/networks/create", `{"Name": "bridge"}`, 403, "Error"},
		{"POST", "/networks/create", `{"Name": "m", "Driver": "overlay"}`, 404, "Error"},
		{"POST", "/networks/create", `{"Name": "n"}`, 409, "Error"}, // not in the reference; Docker's engine answers it
		{"POST", "/bridged/v1/sandboxes", `{"Name": "web", "Ports": ["8080:80", "53/udp"]}`, 201, "-"},
		{"POST", "/bridged/v1/sandboxes", `{"Name": "plain", "Network": "none"}`, 201, "-"},
		{"POST", "/networks/n/connect", `{"Container": "web", "EndpointConfig": {"Aliases": ["x"], "GwPriority": 3}}`, 200, ""},
		{"POST", "/networks/n/connect", `{"Container": "web", "EndpointConfig": {"MacAddress": "x"}}`, 400, "Error"},
		{"POST", "/networks/n/connect", `{"Container": "web"}`, 403, "Error"},
		{"POST", "/networks/n/connect", `{"Container": "nobody"}`, 404, "Error"},
		{"POST", "/networks/nothing/connect", `{"Container": "web"}`, 404, "Error"},
		{"GET", "/networks", "", 200, "[Network]"},
		{"GET", "/networks?filters={}", "", 200, "[Network]"},
		{"GET", "/networks/n", "", 200, "Network"},
		{"GET", "/networks/n?verbose=true&scope=local", "", 200, "Network"},
		{"GET", "/networks/nothing", "", 404, "Error"},
		{"GET", "/containers/json", "", 200, "[Summary]"},
		{"GET", "/containers/json?all=1&limit=1&size=1", "", 200, "[Summary]"},
		{"GET", "/containers/json?all=false&limit=-1&size=0&trunc_cmd=0", "", 200, "[Summary]"}, // as Docker's library for Python asks
		{"GET", "/containers/json?trunc_cmd=1", "", 400, "Error"},
		{"GET", "/containers/json?limit=x", "", 400, "Error"},
		{"GET", "/containers/web/json", "", 200, "Container"},
		{"GET", "/containers/plain/json?size=true", "", 200, "Container"},
		{"GET", "/containers/nobody/json", "", 404, "Error"},
		{"DELETE", "/networks/n", "", 403, "Error"},
		{"DELETE", "/networks/host", "", 403, "Error"},
		{"DELETE", "/networks/nothing", "", 404, "Error"},
		{"POST", "/networks/n/disconnect", `{"Container": "web", "Force": false}`, 200, ""},
		{"POST", "/networks/n/disconnect", `{"Container": "web", "Force": true}`, 404, "Error"},
		{"DELETE", "/networks/n", "", 204, ""},
		{"POST", "/networks/prune", "", 200, "Prune"},
		{"POST", "/networks/prune?filters={}", "", 200, "Prune"},
		{"GET", "/events?since=1&until=2s", "", 200, "lines Event"},
		{"GET", "/events?since=x", "", 400, "Error"},
	} {
		for _, version := range []string{"", "/v1.43", "/v1.50"} {
			if version != "" && (c.method != "GET" || strings.HasPrefix(c.path, client.Prefix)) {
				continue // once is enough for what changes something
			}
			x := s.do(c.method, version+c.path, c.body)
			if x.status != c.status {
				t.Errorf("%s %s %s: status %d, want %d: %s", c.method, version+c.path, c.body, x.status, c.status, x.answer)
			}
			if err := conformsText(x.answer, c.kind); err != nil {
				t.Errorf("%s %s: %v", c.method, version+c.path, err)
			}
		}
	}
}

func conformsText(text, kind string) error {
	if kind == "-" {
		return nil
	}
	if kind == "" {
		if text != "" {
			return fmt.Errorf("a body: %q", text)
		}
		return nil
	}
	of, lines := strings.CutPrefix(kind, "lines ")
	if !lines {
		text = strings.ReplaceAll(text, "\n", " ")
	} else if text == "" {
		return fmt.Errorf("no lines")
	}
	for line := range strings.Lines(text) {
		var value any
		if err := json.Unmarshal([]byte(line), &value); err != nil {
			return err
		}
		if object, ok := value.(map[string]any); ok && of == "Error" {
			delete(object, "code")
		}
		if err := conforms(value, of, "$"); err != nil {
			return err
		}
	}
	return nil
}

// TestConformanceRefuses shows that the comparison sees what is not documented.
func TestConformanceRefuses(t *testing.T) {
	const good = `{"Type":"network","Action":"create","Actor":{"ID":"x","Attributes":{"a":"b"}},"scope":"local","time":1,"timeNano":1}`
	if err := conformsText(good, "Event"); err != nil {
		t.Fatal(err)
	}
	for _, edit := range [][2]string{
		{`"Action"`, `"action"`}, {`"local"`, `1`}, {`{"a":"b"}`, `null`}, {`"b"`, `1`}, {`"time":1,`, ``}, {`"time":1`, `"time":"1"`}, {`{"ID"`, `[{"ID"`},
	} {
		if bad := strings.Replace(good, edit[0], edit[1], 1); conformsText(bad, "Event") == nil {
			t.Errorf("%s passes", bad)
		}
	}
}

// zeroFields are the fields of Docker's requests that mean nothing here, each with its zero value and another one.
var zeroFields = map[string][][3]string{
	`/networks/create {"Name": "n%d", %s}`: {
		{"Attachable", "false", "true"}, {"Ingress", "false", "true"}, {"ConfigOnly", "false", "true"}, {"ConfigFrom", "null", `{"Network": "x"}`},
		{"ConfigFrom", `{"Network": ""}`, `{"Network": "x"}`}, {"Scope", `""`, `"swarm"`}, {"EnableIPv4", "null", "7"}, {"Options", "null", "7"}, {"Labels", "{}", "7"},
		{"Future", `[{"A": 0}]`, `[{"A": 1}]`},
	},
	`/networks/n/connect {"Container": "c%d", %s}`: {{"Future", "0", "1"}},
	`/networks/n/connect {"Container": "c%d", "EndpointConfig": {%s}}`: {
		{"Links", "null", `["a:b"]`}, {"Links", "[]", `["a:b"]`}, {"NetworkID", `""`, `"x"`}, {"EndpointID", `""`, `"x"`}, {"Gateway", `""`, `"10.0.0.1"`},
		{"IPAddress", `""`, `"10.0.0.1"`}, {"IPPrefixLen", "0", "24"}, {"IPv6Gateway", `""`, `"fd00::1"`}, {"GlobalIPv6Address", `""`, `"fd00::1"`},
		{"GlobalIPv6PrefixLen", "0", "64"}, {"DNSNames", "null", `["x"]`}, {"IPAMConfig", "null", `{"LinkLocalIPs": ["169.254.0.1"]}`},
		{"IPAMConfig", `{"IPv4Address": "", "IPv6Address": "", "LinkLocalIPs": []}`, `{"LinkLocalIPs": ["169.254.0.1"]}`},
		{"Aliases", "null", "7"}, {"DriverOpts", "null", "7"},
	},
	`/networks/n/disconnect {"Container": "c%d", %s}`: {{"Future", `""`, `"x"`}},
}

// TestConformanceZero: fields that mean nothing here are accepted while they are zero, as clients send them, and refused by name when they are not.
func TestConformanceZero(t *testing.T) {
	for call, fields := range zeroFields {
		path, body, _ := strings.Cut(call, " ")
		for i, f := range fields {
			s := ready(t)
			for _, made := range [][2]string{{"/networks/create", `{"Name": "n"}`}, {"/bridged/v1/sandboxes", fmt.Sprintf(`{"Name": "c%d"}`, i)}} {
				if x := s.do("POST", made[0], made[1]); x.status != 201 {
					t.Fatal(x.answer)
				}
			}
			if strings.HasSuffix(path, "disconnect") {
				s.do("POST", "/networks/n/connect", fmt.Sprintf(`{"Container": "c%d"}`, i))
			}
			refused := s.do("POST", path, fmt.Sprintf(body, i, fmt.Sprintf("%q: %s", f[0], f[2])))
			if refused.status != 400 || !strings.Contains(refused.answer, f[0]) {
				t.Errorf("%s with %s %s: %d %s", path, f[0], f[2], refused.status, refused.answer)
			}
			if x := s.do("POST", path, fmt.Sprintf(body, i, fmt.Sprintf("%q: %s", f[0], f[1]))); x.status >= 300 {
				t.Errorf("%s with %s %s: %d %s", path, f[0], f[1], x.status, x.answer)
			}
		}
	}
}
