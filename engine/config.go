package engine

import (
	"log/slog"
	"net/netip"
	"os"

	"github.com/bridged/bridged"
)

// Config is the daemon's checked configuration. [Config.Check] says what is wrong with it.
type Config struct {
	// RunDir holds what does not outlive a boot, StateDir the networks.
	RunDir, StateDir string
	// DetachSpool holds what CNI runtimes asked for while there was no daemon; "": nothing is looked for.
	DetachSpool string

	// Bridge is "none" for no default network (-b none), else "". BridgeName is the default bridge's interface name.
	Bridge, BridgeName string
	// BIP and BIP6 are the default bridge's address and prefix; zero: chosen.
	BIP, BIP6 netip.Prefix
	// FixedCIDR and FixedCIDR6 are the part of the subnet that addresses are given out of; zero: all of it.
	FixedCIDR, FixedCIDR6 netip.Prefix
	// IPv6 on the default bridge.
	IPv6 bool
	// ICC: may the default network's members talk to one another?
	ICC bool
	// IPMasq: masquerade what leaves the bridge subnets.
	IPMasq bool
	// IP is the host address of published ports that name none; 0.0.0.0 is every address of both families.
	IP netip.Addr
	// MTU of bridges and pairs, in bytes; 0: that of the default route's link, else 1500.
	MTU int
	// Pools are for networks created without a subnet; empty: the built-in ones.
	Pools []AddressPool

	// NoFirewall: no packet filter and no NAT rules (--iptables=false); FirewallFlag is the flag as it was typed, "iptables" or
	// "firewall".
	NoFirewall   bool
	FirewallFlag string

	// IPForward: may forwarding be switched on? IPForwardNoDrop: do not close it for others when we did.
	IPForward, IPForwardNoDrop bool

	// Protection of our tables: "auto", "owner+persist" or "monitor".
	Protection string
	Version    string
	Log        *slog.Logger
	// Warnings are of the program around the engine, for `status` and the log.
	Warnings []string

	// Socket is the packet filter's, from an earlier daemon: what it owns stays owned. It is the caller's to close. nil: there is none.
	Socket *os.File
	// HandOn is given the packet filter's socket, to be kept for the next daemon: before it owns anything, and when another took the place of
	// one that died. nil instead of a file: the one that is kept is dead, and must not be kept any more. The file is closed when HandOn returns.
	HandOn func(*os.File)
}

// AddressPool is a prefix that is cut into subnets of Size bits.
type AddressPool struct {
	Base netip.Prefix
	Size int
}

// Check says what is wrong with the configuration, naming the flag, before anything is touched.
func (c Config) Check() error {
	if c.Bridge != "" && c.BIP.IsValid() {
		return bridged.Errorf(bridged.ErrInvalid,
			"You specified -b & --bip, mutually exclusive options. Please specify only one.")
	}
	if c.NoFirewall && !c.ICC {
		return bridged.Errorf(bridged.ErrInvalid,
			"You specified --%s=false with --icc=false. ICC uses iptables to function. Please set --icc or --%[1]s to true.", c.FirewallFlag)
	}
	if c.Bridge == "" {
		if err := bridged.CheckBridgeName(c.BridgeName); err != nil {
			return bridged.Errorf(bridged.ErrInvalid, "--bridge-name: %w", err)
		}
	}
	for _, f := range []struct {
		flag, subnet string
		part, whole  netip.Prefix
	}{
		{"--fixed-cidr", "--bip", c.FixedCIDR, c.BIP},
		{"--fixed-cidr-v6", "--bip6", c.FixedCIDR6, c.BIP6},
	} {
		if f.part.IsValid() && f.whole.IsValid() && (!f.whole.Masked().Contains(f.part.Addr()) || f.part.Bits() < f.whole.Bits()) {
			return bridged.Errorf(bridged.ErrInvalid, "%s %s is not inside %s %s", f.flag, f.part, f.subnet, f.whole)
		}
	}
	return nil
}
