package hostcheck

import (
	"errors"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/sysctl"
)

// The sysctls that are looked at, relative to /proc/sys.
const (
	bridgeNFCall4 = "net/bridge/bridge-nf-call-iptables"
	bridgeNFCall6 = "net/bridge/bridge-nf-call-ip6tables"
	forwarding4   = "net/ipv4/ip_forward"
	forwarding6   = "net/ipv6/conf/all/forwarding"
)

// Read reads what [Findings] judges, in the calling thread's network namespace: a caller that is in another one than its
// process locks its goroutine to the thread. It needs CAP_NET_ADMIN to read rules. What can't be read is in the error, by name,
// and all else is in the Host nevertheless; what the kernel does not have is not there, which is no error.
func Read(own Own) (Host, error) {
	h := Host{Own: own, RPFilter: make(map[string]int)}
	routes, links, err := readRoutes()
	errs := []error{err}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Index] = l.Name
	}
	for _, r := range routes {
		name := names[r.Link]
		if r.Dst.Bits() == 0 && r.Table == unix.RT_TABLE_MAIN && r.Type == unix.RTN_UNICAST && name != "" && !slices.Contains(h.Uplinks, name) {
			h.Uplinks = append(h.Uplinks, name)
		}
	}
	h.Tables, err = readTables(own, names)
	errs = append(errs, withoutSubsystem(err))
	h.Legacy, err = readLegacy()
	errs = append(errs, err)
	flag := func(path string) bool {
		v, err := number0(path)
		errs = append(errs, err)
		return v != 0
	}
	h.BridgeNF4, h.BridgeNF6 = flag(bridgeNFCall4), flag(bridgeNFCall6)
	h.Forwarding4, h.Forwarding6 = flag(forwarding4), flag(forwarding6)
	interfaces := []string{"all"}
	for _, name := range names {
		interfaces = append(interfaces, name)
	}
	for _, name := range interfaces {
		h.RPFilter[name], err = number0("net/ipv4/conf/" + name + "/rp_filter")
		errs = append(errs, err)
	}
	return h, errors.Join(errs...)
}

// number0 is a sysctl's value; 0 where there is no such sysctl.
func number0(path string) (int, error) {
	v, err := sysctl.Get(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(v)
}

// withoutSubsystem forgets the error by which a kernel without nf_tables answers: it has no rules.
func withoutSubsystem(err error) error {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if errors.Is(err, errno) {
			return nil
		}
	}
	return err
}
