package cni

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// with is an environment of KEY=VALUE.
func with(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if key, value, _ := strings.Cut(p, "="); key == name {
				return value
			}
		}
		return ""
	}
}

// wantError holds an error against the code and the words that a user needs.
func wantError(t *testing.T, what string, err error, code Code, words ...string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want code %d", what, err, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(e.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, e, w)
		}
	}
}

func TestEnvironmentRefused(t *testing.T) {
	add := []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/x", "CNI_IFNAME=eth0"}
	for _, c := range []struct {
		pairs []string
		words string
	}{
		{nil, "CNI_COMMAND is missing"},
		{[]string{"CNI_COMMAND=add"}, `CNI_COMMAND "add" is unknown: want ADD`},
		{add[:1], "ADD needs CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME"},
		{add[:3], "ADD needs CNI_IFNAME in"},
		{[]string{"CNI_COMMAND=CHECK", add[1], add[3]}, "CHECK needs CNI_NETNS in"},
		{[]string{"CNI_COMMAND=DEL"}, "DEL needs CNI_CONTAINERID, CNI_IFNAME"},
		{[]string{add[0], "CNI_CONTAINERID=../x", add[2], add[3]}, "CNI_CONTAINERID: invalid container name"},
		{[]string{add[0], "CNI_CONTAINERID=" + strings.Repeat("x", 300), add[2], add[3]}, "at most 255"},
		{append(add[:3:3], "CNI_IFNAME=e/0"), "CNI_IFNAME: invalid interface name"},
		{append(add[:3:3], "CNI_IFNAME=sixteencharacter"), "at most 15"},
		{append(add[:4:4], "CNI_ARGS=IP"), `"IP": want KEY=VALUE`},
		{append(add[:4:4], "CNI_ARGS=IP=x"), `"x" is no IP address`},
		{append(add[:4:4], "CNI_ARGS=IP=10.0.0.1/33"), "is no IP address"},
		{append(add[:4:4], "CNI_ARGS=IP=fe80::1%eth0"), "is no IP address"},
		{append(add[:4:4], "CNI_ARGS=MAC=x"), "invalid MAC address"},
		{append(add[:4:4], "CNI_ARGS=A=1;IgnoreUnknown=0;B=2"), "unknown keys: A, B"},
	} {
		_, _, err := readEnvironment(with(c.pairs...))
		wantError(t, strings.Join(c.pairs, " "), err, CodeEnvironment, c.words)
	}
	if _, _, err := readEnvironment(with(add...)); err != nil {
		t.Errorf("the control: %v", err)
	}
	if _, _, err := readEnvironment(with("CNI_COMMAND=DEL", add[1], add[3], "CNI_ARGS=nonsense")); err != nil {
		t.Errorf("a DEL minds arguments that it does not use: %v", err)
	}
}

func TestArgs(t *testing.T) {
	a, err := parseArgs("IgnoreUnknown=true;;X=1;IP=10.1.0.9/16;MAC=02-11-22-33-44-55;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0")
	switch {
	case err != nil:
		t.Fatal(err)
	case a.IP != netip.MustParseAddr("10.1.0.9"), a.MAC != bridged.MAC{2, 0x11, 0x22, 0x33, 0x44, 0x55}:
		t.Errorf("got %v", a)
	case len(a.Labels) != 2 || a.Labels["io.kubernetes.pod.namespace"] != "prod" || a.Labels["io.kubernetes.pod.name"] != "web-0":
		t.Errorf("got %v", a.Labels)
	}
}
