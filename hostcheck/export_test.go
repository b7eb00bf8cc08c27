package hostcheck

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/nft"
)

// LinkKind asks the kernel for a kind of link, as the probes of Bridge and Veth do.
func LinkKind(kind string) error {
	p, err := dialProber(nil)
	if err != nil {
		return err
	}
	defer p.close()
	return p.link(kind)
}

// OneByOne asks for everything without asking for all at once before.
func OneByOne() (Kernel, error) {
	p, err := dialProber(nil)
	if err != nil {
		return Kernel{}, err
	}
	defer p.close()
	p.complete = false
	return Ask(p.ask).Kernel()
}

// TryTable asks nf_tables for a table.
func TryTable(t nft.Table) error {
	p, err := dialProber(nil)
	if err != nil {
		return err
	}
	defer p.close()
	return p.try([]nft.Table{t})
}

// Generation is the number of the ruleset in the calling thread's namespace.
func Generation() (uint32, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return rulesReader{conn: conn}.generation()
}
