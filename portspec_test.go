package bridged

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParsePortSpec(t *testing.T) {
	ip := netip.MustParseAddr
	one := func(p uint16) PortRange { return PortRange{p, p} }
	for spec, want := range map[string][]PortSpec{
		"80":                    {{ContainerPort: 80, Proto: TCP}},
		"80/udp":                {{ContainerPort: 80, Proto: UDP}},
		"80/SCTP":               {{ContainerPort: 80, Proto: SCTP}},
		"8080:80":               {{HostPort: one(8080), ContainerPort: 80, Proto: TCP}},
		"0:80":                  {{ContainerPort: 80, Proto: TCP}},
		"8000-8010:80":          {{HostPort: PortRange{8000, 8010}, ContainerPort: 80, Proto: TCP}},
		"8000-8001:80-81":       {{HostPort: one(8000), ContainerPort: 80, Proto: TCP}, {HostPort: one(8001), ContainerPort: 81, Proto: TCP}},
		"80-81":                 {{ContainerPort: 80, Proto: TCP}, {ContainerPort: 81, Proto: TCP}},
		"127.0.0.1:8080:80":     {{HostIP: ip("127.0.0.1"), HostPort: one(8080), ContainerPort: 80, Proto: TCP}},
		"127.0.0.1::80":         {{HostIP: ip("127.0.0.1"), ContainerPort: 80, Proto: TCP}},
		"0.0.0.0:8080:80":       {{HostIP: ip("0.0.0.0"), HostPort: one(8080), ContainerPort: 80, Proto: TCP}},
		"[::]:8080:80":          {{HostIP: ip("::"), HostPort: one(8080), ContainerPort: 80, Proto: TCP}},
		"[fd00::1]::80/udp":     {{HostIP: ip("fd00::1"), ContainerPort: 80, Proto: UDP}},
		"[::ffff:10.0.0.1]:1:2": {{HostIP: ip("10.0.0.1"), HostPort: one(1), ContainerPort: 2, Proto: TCP}},
		"65535:65535":           {{HostPort: one(65535), ContainerPort: 65535, Proto: TCP}},
	} {
		got, err := ParsePortSpec(spec)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", spec, d)
		}
		for _, s := range got {
			again, err := ParsePortSpec(s.String())
			if err != nil || len(again) != 1 || again[0] != s {
				t.Errorf("%s prints as %s, which reads as %v, %v", spec, s, again, err)
			}
		}
	}
}

func TestParsePortSpecRefuses(t *testing.T) {
	for spec, why := range map[string]string{
		"":                   "is missing",
		"x":                  `"x" is no number`,
		"-80":                "is missing",
		"+80":                "is no number",
		"80-":                "is missing",
		"90-80":              "ends before it begins",
		"0":                  "container port 0",
		"0-10":               "container port 0",
		"8080:0":             "container port 0",
		"65536":              "larger than 65535",
		"99999999999:80":     "larger than 65535",
		"80/icmp":            "use tcp, udp or sctp",
		"80/":                "use tcp, udp or sctp",
		"80/tcp/udp":         "use tcp, udp or sctp",
		"8000-8001:80-82":    "must have the same size",
		"8000-8009:80-81":    "must have the same size",
		"0-5:80":             "begins with 0",
		"300.1.1.1:80:80":    "no IP address",
		"localhost:80:80":    "no IP address",
		"::1:80:80":          "brackets",
		"[::1]:80":           "must be followed by",
		"[::1]80:80":         "must be followed by a colon",
		"[127.0.0.1]:80:80":  "no IPv6 address",
		"[fe80::1%eth0]:1:1": "zone",
		"1:2:3:4":            "too many colons",
		"8080: 80":           "is no number",
	} {
		got, err := ParsePortSpec(spec)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%q gives %v, %v; want ErrInvalid", spec, got, err)
			continue
		}
		if !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), spec) {
			t.Errorf("%q: the error %q does not name it and say %q", spec, err, why)
		}
	}
}
