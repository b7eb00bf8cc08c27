package hostcheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// ResolverFiles are the files that [Nameservers] reads when it is given none: the host's resolver configuration, and what the usual
// local stub resolvers leave of the servers behind them. They are of systemd-resolved, NetworkManager (with its dnsmasq), and dnsmasq
// fed by resolvconf.
func ResolverFiles() []string {
	return []string{
		"/etc/resolv.conf",
		"/run/systemd/resolve/resolv.conf",
		"/run/NetworkManager/no-stub-resolv.conf",
		"/run/dnsmasq/resolv.conf",
	}
}

// maxResolverFile bounds what is read of one file, in bytes. The C library looks at three servers.
const maxResolverFile = 1 << 20

// Nameservers are the servers of the first file, as in resolv.conf(5). When one of them is an address of the loopback, it is a
// local stub resolver, and the other files tell the servers behind it. Without files, [ResolverFiles] are read. Each address is
// there once, in the order of the files, without zone; IPv4 addresses are never in their IPv6 form.
//
// A file that is missing has no servers. When one can't be read, the error names it, and the servers of the others are there
// all the same.
func Nameservers(files ...string) ([]netip.Addr, error) {
	if len(files) == 0 {
		files = ResolverFiles()
	}
	servers, err := readNameservers(files[0])
	errs := []error{err}
	if slices.ContainsFunc(servers, netip.Addr.IsLoopback) {
		for _, file := range files[1:] {
			more, err := readNameservers(file)
			servers, errs = append(servers, more...), append(errs, err)
		}
	}
	return unique(servers), errors.Join(errs...)
}

// unique keeps the first of equal addresses.
func unique(list []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

func readNameservers(file string) ([]netip.Addr, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read nameservers: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxResolverFile+1))
	if err == nil && len(b) > maxResolverFile {
		b, err = b[:maxResolverFile], fmt.Errorf("%s has more than %d bytes", file, maxResolverFile)
	}
	if err != nil {
		err = fmt.Errorf("cannot read nameservers: %w", err)
	}
	return parseNameservers(b), err
}

// parseNameservers reads lines like "nameserver 10.0.0.2 # office". What no resolver understands is passed over, as they do; white
// space before the keyword, which Go's resolver allows and glibc's does not, is allowed: a server too many does less harm here than
// one too few.
func parseNameservers(b []byte) []netip.Addr {
	var servers []netip.Addr
	for line := range bytes.Lines(b) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		text, _, _ := strings.Cut(fields[1], "#")
		text, _, _ = strings.Cut(text, ";")
		if a, err := netip.ParseAddr(text); err == nil {
			servers = append(servers, a.WithZone("").Unmap())
		}
	}
	return servers
}
