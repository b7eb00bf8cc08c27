package bridged

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Option keys of endpoints, as Docker's users know them.
const (
	OptionInterface = "com.docker.network.endpoint.ifname"
	OptionSysctls   = "com.docker.network.endpoint.sysctls"
	OptionMAC       = "com.docker.network.endpoint.macaddress"
)

var endpointOptions = map[string]func(e *Endpoint, value string) error{
	OptionInterface: func(e *Endpoint, v string) error {
		e.Interface = v
		return CheckNewLinkName(v)
	},
	OptionSysctls: setSysctls,
	OptionMAC:     func(e *Endpoint, v string) (err error) { e.MAC, err = ParseMAC(v); return err },
}

// endpointNamespaces are the prefixes of keys that are ours to know.
var endpointNamespaces = []string{"com.docker.network.endpoint.", "bridged."}

// SetOptions sets what the options say. A key of ours or of Docker's endpoints that is unknown is an error; others mean nothing.
func (e *Endpoint) SetOptions(values map[string]string) error {
	for _, key := range sortedKeys(values) {
		set, ok := endpointOptions[key]
		switch {
		case ok:
		case slices.ContainsFunc(endpointNamespaces, func(prefix string) bool { return strings.HasPrefix(key, prefix) }):
			return Errorf(ErrInvalid, "unknown endpoint option %q: use one of %s", key, strings.Join(sortedKeys(endpointOptions), ", "))
		default:
			continue
		}
		if err := set(e, values[key]); err != nil {
			return Errorf(ErrInvalid, "invalid endpoint option %s=%s: %w", key, values[key], err)
		}
	}
	return nil
}

// sysctlPattern is a parameter of one interface, and its value.
var sysctlPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^net\.(ipv4|ipv6|mpls)\.(conf|neigh)\.` + InterfaceName + `\.([a-z0-9_]+)=([a-zA-Z0-9:. _-]+)$`)
})

// setSysctls reads net.ipv4.conf.IFNAME.log_martians=1,…
func setSysctls(e *Endpoint, value string) error {
	e.Sysctls = make(map[string]string)
	for part := range strings.SplitSeq(value, ",") {
		m := sysctlPattern().FindStringSubmatch(part)
		if m == nil {
			return Errorf(ErrInvalid, "%q is not of the form net.ipv4.conf.%s.PARAMETER=VALUE, with ipv4, ipv6 or mpls, and conf or neigh", part, InterfaceName)
		}
		e.Sysctls[strings.Join([]string{"net", m[1], m[2], InterfaceName, m[3]}, "/")] = m[4]
	}
	return nil
}
