package cni

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/bridged/bridged"
)

// FuzzConfig: whatever stands in a configuration, it is refused by an error that a runtime can read, or it asks for an attachment that is the same
// when it was sent and read.
func FuzzConfig(f *testing.F) {
	for _, keys := range []string{
		`"bridge": "br7", "mtu": 1400, "isDefaultGateway": true, "hairpinMode": true, "conditionsV4": ["-s", "10.0.0.0/8,192.0.2.1"], "ingressPolicy": "isolated"`,
		`"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.5", "rangeEnd": "10.1.0.9", "gateway": "10.1.0.2"}], [{"subnet": "fd00::/64"}]]}`,
		`"ipam": {"type": "bridged", "subnet": "10.1.0.0/24", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1300, "priority": 5, "table": 7}], "resolvConf": "/etc/x"}`,
		`"ipam": {"type": "bridged", "subnet": "::ffff:10.1.0.0/120"}, "args": {"cni": {"ips": ["10.1.0.1/24"], "mac": "02:00:00:00:00:01", "promisc": false, "sysctl": {"a": "b"}}}`,
		`"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "::ffff:127.0.0.1"}], "bandwidth": {"ingressRate": 1, "ingressBurst": 8},
		  "dns": {"servers": ["x"]}, "ips": ["fd00::5"], "mac": "02-00-00-00-00-01", "ipRanges": [[{"subnet": "fd00::/64"}]], "aliases": ["a"]}`,
		`"prevResult": {"interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [{"interface": 0, "address": "10.1.0.5/24"}], "routes": [], "dns": {}}, "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "b"}]`,
		`"vlan": 0, "vlanTrunk": [{"id": 5}], "x": 1, "MTU": 1e9, "mtu": null, "ipam": null, "sysctl": null`,
	} {
		f.Add([]byte(`{"cniVersion": "1.1.0", "name": "podnet", "type": "bridged-cni", `+keys+`}`), "IP=10.1.0.7;MAC=02:00:00:00:00:02;K8S_POD_NAME=x;IgnoreUnknown=1;Y=2")
	}
	f.Fuzz(func(t *testing.T, text []byte, args string) {
		env := Environment{Container: "c1", Interface: "eth0", NetNS: "/x"}
		var err error
		if env.Args, err = parseArgs(args); err != nil {
			told(t, err)
		}
		if _, err := parseIdentity(text); err != nil {
			told(t, err)
		}
		c, err := ParseConfig(text)
		if err != nil {
			told(t, err)
			return
		}
		spec, err := c.Attachment(env)
		if err != nil {
			told(t, err)
			return
		}
		prev, err := c.parsePrevious()
		if err != nil {
			told(t, err)
			return
		}
		given(spec, prev.addressesOf(env))
		if _, err := json.Marshal(newResult(version110, prev, bridged.Attachment{}, c.DNS)); err != nil {
			t.Fatalf("the result of %s can't be written: %v", text, err)
		}
		sentAndRead(t, spec)
	})
}

// told: the error has a code and a message, and can be written.
func told(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code == 0 || e.Code == CodeInternal || e.Msg == "" {
		t.Fatalf("%#v is no error for a runtime", err)
	}
}

func sentAndRead(t *testing.T, spec bridged.AttachmentSpec) {
	t.Helper()
	first, err := json.Marshal(spec)
	if err != nil {
		t.Fatalf("%+v can't be sent: %v", spec, err)
	}
	var again bridged.AttachmentSpec
	if err := json.Unmarshal(first, &again); err != nil {
		t.Fatalf("%s can't be read: %v", first, err)
	}
	second, err := json.Marshal(again)
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Fatalf("%s was read as %s, %v", first, second, err)
	}
}
