package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/nft"
)

// lacks is what this kernel does not have and what is done without; each error says why it is not there, nil that it is.
type lacks struct {
	// bridge is the family bridge of nf_tables. Without it isolated ports keep siblings apart, and there is no source guard.
	bridge error
	// ipv6: a network that has it can't be used.
	ipv6 error
	// bridgeFilter: br_netfilter shows bridged packets to the IP rules, which isolated ports do not go well with.
	bridgeFilter bool
}

// needed is what there is no program without. It includes what is newer than isolated ports, so they are there.
func needed() []hostcheck.FeatureName {
	return []hostcheck.FeatureName{
		hostcheck.NFTables, hostcheck.NFTablesInet, hostcheck.Bridge, hostcheck.Veth, hostcheck.Conntrack, hostcheck.FIB,
		hostcheck.NAT, hostcheck.Masquerade, hostcheck.ConcatIntervals, hostcheck.ElementCounters, hostcheck.ElementLimits,
	}
}

// fit fits the program to the kernel, before anything is changed. A kernel without what is needed, or without what the flags ask
// for, is [bridged.ErrUnavailable].
func (e *Engine) fit(ctx context.Context) error {
	program, l := e.program, lacks{ipv6: e.facts.noIPv6, bridgeFilter: e.facts.bridgeFilter}
	if l.ipv6 != nil && e.cfg.IPv6 {
		return bridged.Errorf(bridged.ErrUnavailable, "there is no IPv6 for --ipv6: %w", l.ipv6)
	}
	asked, err := e.mustProbe(ctx)
	if err != nil {
		return err
	}
	if asked {
		if l.bridge, err = e.probe(); err != nil {
			return bridged.Errorf(bridged.ErrUnavailable, "cannot work on this kernel: %w", err)
		}
	}
	if l.bridge != nil {
		program = slices.DeleteFunc(program, func(t nft.Table) bool { return t.ID == forwarding.Bridge })
	}
	if e.cfg.Bridge != "none" {
		if err := l.refuse(bridged.Network{Name: bridged.NetworkBridge, Driver: bridged.DriverBridge, ICC: e.cfg.ICC}); err != nil {
			return err
		}
	}
	e.mu.Lock()
	e.program, e.lacks = program, l
	e.mu.Unlock()
	return nil
}

// mustProbe says whether the kernel is to be asked what it has: not when it holds the whole program already.
func (e *Engine) mustProbe(ctx context.Context) (bool, error) {
	there, err := e.host.tables(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(e.program, func(t nft.Table) bool { return !slices.Contains(there, t.ID) }), nil
}

// probe asks the kernel what it has. The error says that it lacks what can't be done without, noBridge that it lacks the family bridge.
func (e *Engine) probe() (noBridge, err error) {
	k, err := e.host.probe()
	if len(k.Features) == 0 {
		return nil, err
	}
	var missing []string
	for _, name := range append(needed(), hostcheck.NFTablesBridge) {
		f := k.Feature(name)
		if f.Present {
			continue
		}
		if !errors.Is(f.Err, hostcheck.ErrAbsent) {
			return nil, fmt.Errorf("cannot find out whether the kernel has %s: %w", name, f.Err)
		}
		e.log.Info("the kernel lacks a feature", "feature", name, "config", f.Config, "since", f.Since, "error", f.Err)
		lack := fmt.Sprintf("no %s (%s, since Linux %s)", name, f.Config, f.Since)
		if name == hostcheck.NFTablesBridge {
			noBridge = errors.New("the kernel has " + lack)
		} else {
			missing = append(missing, lack)
		}
	}
	if len(missing) > 0 {
		return nil, errors.New("the kernel has " + strings.Join(missing, ", "))
	}
	return noBridge, nil
}

// lackWarnings say what is not as it should be. The caller holds e.mu.
func (e *Engine) lackWarnings() []string {
	var warnings []string
	if e.lacks.bridge != nil {
		warnings = append(warnings, fmt.Sprintf("the source guard is off, sandboxes can use addresses that are not theirs: %v", e.lacks.bridge))
	}
	if protection, _ := e.host.ownership(); protection == nft.ProtectionMonitor && e.cfg.Protection != nft.ProtectionMonitor {
		warnings = append(warnings, "other processes can change our nf_tables tables: protection owner+persist needs Linux 6.9 or later")
	}
	for _, id := range sortedKeys(e.index.Networks) {
		n := e.index.Networks[id]
		if err := e.lacks.refuse(n); err != nil {
			warnings = append(warnings, fmt.Sprintf("nobody can join network %s: %v", n.Name, err))
		}
	}
	return warnings
}

// refuse refuses a network that needs what the kernel lacks, so that nobody relies on what is not there. Networks outlive a boot, and may meet
// another kernel than the one that they were made on.
func (l lacks) refuse(n bridged.Network) error {
	switch {
	case l.ipv6 != nil && n.IPv6.Valid():
		return bridged.Errorf(bridged.ErrUnavailable, "network %s can't have IPv6: %w", n.Name, l.ipv6)
	case l.isolated(n) && l.bridgeFilter:
		// br_netfilter makes of a packet for a sibling's published port a frame for the sibling, before it comes to the host, and no frame
		// passes between isolated ports.
		return bridged.Errorf(bridged.ErrUnavailable, "network %s can't be without ICC: %w, and with br_netfilter on, its members would not reach ports that one of them "+
			"publishes: set net.bridge.bridge-nf-call-iptables and net.bridge.bridge-nf-call-ip6tables to 0", n.Name, l.bridge)
	case l.bridge != nil && n.SourceGuard && n.Options[bridged.OptionSourceGuard] != "":
		return bridged.Errorf(bridged.ErrUnavailable, "network %s can't have %s=true: %w", n.Name, bridged.OptionSourceGuard, l.bridge)
	}
	return nil
}

// isolated says whether the kernel keeps a network's ports apart, since no bridge table does.
func (l lacks) isolated(n bridged.Network) bool {
	return l.bridge != nil && !n.ICC && n.Driver == bridged.DriverBridge
}

// iccBy is what keeps siblings apart.
func (e *Engine) iccBy() string {
	switch {
	case e.cfg.NoFirewall:
		return "none"
	case e.lacks.bridge != nil:
		return "isolated ports"
	}
	return "bridge table"
}
