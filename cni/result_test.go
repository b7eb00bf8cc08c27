package cni

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/bridged/bridged"
)

var made = bridged.Attachment{
	Bridge: bridged.AttachmentLink{Name: "cni0", MAC: bridged.MAC{2, 1}, MTU: 1500},
	Host:   bridged.AttachmentLink{Name: "bv0123456789ab", MAC: bridged.MAC{2, 2}, MTU: 1500},
	Inner:  bridged.AttachmentLink{Name: "eth0", MAC: bridged.MAC{2, 3}, MTU: 1400},
	NetNS:  "/run/netns/x",
	IPs: []bridged.AttachmentIP{
		{Address: netip.MustParsePrefix("10.1.0.5/24"), Gateway: netip.MustParseAddr("10.1.0.1")},
		{Address: netip.MustParsePrefix("fd00::5/64")},
	},
	Routes: []bridged.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.1.0.1"), MTU: 1300, Priority: 5, Table: 7}},
}

// TestResultShapes: each version has its own.
func TestResultShapes(t *testing.T) {
	links := `{"name":"cni0","mac":"02:01:00:00:00:00"},{"name":"bv0123456789ab","mac":"02:02:00:00:00:00"},{"name":"eth0","mac":"02:03:00:00:00:00","sandbox":"/run/netns/x"}`
	route := `"routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1"}],"dns":{"nameservers":["10.0.0.1"]}}`
	old := `"interfaces":[` + links + `],"ips":[{"version":"4","interface":2,"address":"10.1.0.5/24","gateway":"10.1.0.1"},{"version":"6","interface":2,"address":"fd00::5/64"}],` + route
	for v, want := range map[Version]string{
		"0.3.1": `{"cniVersion":"0.3.1",` + old,
		"0.4.0": `{"cniVersion":"0.4.0",` + old,
		"1.0.0": `{"cniVersion":"1.0.0","interfaces":[` + links + `],"ips":[{"interface":2,"address":"10.1.0.5/24","gateway":"10.1.0.1"},{"interface":2,"address":"fd00::5/64"}],` + route,
		"1.1.0": `{"cniVersion":"1.1.0","interfaces":[{"name":"cni0","mac":"02:01:00:00:00:00","mtu":1500},{"name":"bv0123456789ab","mac":"02:02:00:00:00:00","mtu":1500},` +
			`{"name":"eth0","mac":"02:03:00:00:00:00","mtu":1400,"sandbox":"/run/netns/x"}],"ips":[{"interface":2,"address":"10.1.0.5/24","gateway":"10.1.0.1"},{"interface":2,"address":"fd00::5/64"}],` +
			`"routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1","mtu":1300,"priority":5,"table":7}],"dns":{"nameservers":["10.0.0.1"]}}`,
	} {
		got, err := json.Marshal(newResult(v, previous{}, made, DNS{Nameservers: []string{"10.0.0.1"}}))
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n got %s\nwant %s", v, err, got, want)
		}
	}
}

// TestResultAfterOthers: what plugins before returned is passed on as it was, and our addresses name our interface behind theirs.
func TestResultAfterOthers(t *testing.T) {
	c := Config{PrevResult: json.RawMessage(`{"cniVersion": "1.1.0", "interfaces": [{"name": "dummy0", "pciID": "x"}], "ips": [{"interface": 0, "address": "10.9.0.1/24"}],
		"routes": [{"dst": "10.8.0.0/16", "scope": 3}], "dns": {"domain": "d"}}`)}
	prev, err := c.parsePrevious()
	if err != nil {
		t.Fatal(err)
	}
	shaped := made
	shaped.Shaper = bridged.AttachmentLink{Name: "bi0123456789ab"}
	got, err := json.Marshal(newResult("1.0.0", prev, shaped, DNS{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"interfaces":[{"name":"dummy0","pciID":"x"},{"name":"cni0"`, `"sandbox":"/run/netns/x"},{"name":"bi0123456789ab"}]`,
		`"ips":[{"interface":0,"address":"10.9.0.1/24"},{"interface":3,"address":"10.1.0.5/24"`, `"routes":[{"dst":"10.8.0.0/16","scope":3},{"dst":"0.0.0.0/0"`,
		`"dns":{"domain":"d"}`,
	} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	_, err = (&Config{PrevResult: json.RawMessage(`[]`)}).parsePrevious()
	wantError(t, "a list", err, CodeDecode, "prevResult")
}

// TestGiven: of the addresses that an interface has in a previous result those count that we gave.
func TestGiven(t *testing.T) {
	c := Config{PrevResult: json.RawMessage(`{"interfaces": [{"name": "eth0"}, {"name": "eth0", "sandbox": "/x"}, {"name": "eth1", "sandbox": "/x"}], "ips": [
		{"interface": 0, "address": "10.1.0.1/24"}, {"interface": 1, "address": "10.1.0.5/24"}, {"interface": 2, "address": "10.1.0.6/24"}, {"interface": 7, "address": "10.1.0.7/24"},
		{"address": "10.1.0.8/24"}, {"interface": 1, "address": "10.7.0.5/24"}, {"interface": 1, "address": "fd00::5/64"}, {"interface": 1, "address": "fd00::6/64"}]}`)}
	prev, err := c.parsePrevious()
	if err != nil {
		t.Fatal(err)
	}
	spec := bridged.AttachmentSpec{Network: bridged.AttachmentNetwork{
		IPv4: bridged.Subnet{Prefix: netip.MustParsePrefix("10.1.0.0/24")}, IPv6: bridged.Subnet{Prefix: netip.MustParsePrefix("fd00::/64")}}}
	got := given(spec, prev.addressesOf(Environment{Interface: "eth0"}))
	if len(got) != 1 || got[0] != netip.MustParseAddr("10.1.0.5") {
		t.Errorf("got %v", got)
	}
}
