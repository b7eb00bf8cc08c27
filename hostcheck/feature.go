package hostcheck

import (
	"errors"
	"fmt"
	"slices"
)

// FeatureName is something that a kernel may lack.
type FeatureName string

// The features that matter to a bridge with a packet filter. Only the first three can't be done without.
const (
	NFTables         FeatureName = "nf_tables"
	NFTablesInet     FeatureName = "nf_tables family inet"
	Bridge           FeatureName = "bridge"
	Veth             FeatureName = "veth"
	Conntrack        FeatureName = "nf_tables ct"
	FIB              FeatureName = "nf_tables fib"
	NAT              FeatureName = "nf_tables NAT in family inet"
	Masquerade       FeatureName = "nf_tables masquerade in family inet"
	ConcatIntervals  FeatureName = "nf_tables intervals of concatenations"
	ElementCounters  FeatureName = "nf_tables counters in elements"
	ElementLimits    FeatureName = "nf_tables limits in elements"
	NFTablesBridge   FeatureName = "nf_tables family bridge"
	OwnerPersist     FeatureName = "nf_tables table flags owner and persist"
	ConntrackNetlink FeatureName = "conntrack over netlink"
	IPv6             FeatureName = "IPv6"
	BridgeNetfilter  FeatureName = "br_netfilter"
)

// Feature is what is known of one feature in one network namespace.
type Feature struct {
	Name FeatureName
	// Config is the option of the kernel's configuration, or several, as in "CONFIG_NFT_FIB_INET".
	Config string
	// Since is the first version of Linux that has it, as in "5.6".
	Since string
	// Present: it can be used.
	Present bool
	// Err is why not; nil when it is present. It wraps [ErrAbsent] when the kernel answered, and not when asking failed.
	Err error
}

// String is as in "nf_tables fib: present" and "IPv6: absent: switched off …".
func (f Feature) String() string {
	if f.Present {
		return string(f.Name) + ": present"
	}
	return fmt.Sprintf("%s: absent: %v", f.Name, f.Err)
}

// origin says where the feature comes from, as in "which CONFIG_NFT_FIB_INET brings since Linux 4.10".
func (f Feature) origin() string {
	return fmt.Sprintf("which %s brings since Linux %s", f.Config, f.Since)
}

// features are all features without an answer, in the order in which they are asked: each after those that it needs. The
// versions are those of the kernel's changelog: the first release that has what the probe asks for.
func features() []Feature {
	return []Feature{
		{Name: NFTables, Config: "CONFIG_NF_TABLES", Since: "3.13"},
		{Name: NFTablesInet, Config: "CONFIG_NF_TABLES_INET", Since: "3.14"},
		{Name: Bridge, Config: "CONFIG_BRIDGE", Since: "2.6"},
		{Name: Veth, Config: "CONFIG_VETH", Since: "2.6.24"},
		{Name: Conntrack, Config: "CONFIG_NF_CONNTRACK, CONFIG_NFT_CT", Since: "3.13"},
		{Name: FIB, Config: "CONFIG_NFT_FIB_INET, CONFIG_NFT_FIB_IPV4, CONFIG_NFT_FIB_IPV6", Since: "4.10"},
		{Name: NAT, Config: "CONFIG_NFT_NAT", Since: "5.2"},
		{Name: Masquerade, Config: "CONFIG_NFT_MASQ", Since: "5.2"},
		{Name: ConcatIntervals, Config: "CONFIG_NF_TABLES", Since: "5.6"},
		{Name: ElementCounters, Config: "CONFIG_NF_TABLES, CONFIG_NFT_COUNTER before Linux 5.17", Since: "5.7"},
		{Name: ElementLimits, Config: "CONFIG_NFT_LIMIT", Since: "5.7"},
		{Name: NFTablesBridge, Config: "CONFIG_NF_TABLES_BRIDGE", Since: "3.13"},
		{Name: OwnerPersist, Config: "CONFIG_NF_TABLES", Since: "6.9"},
		{Name: ConntrackNetlink, Config: "CONFIG_NF_CT_NETLINK", Since: "2.6.14"},
		{Name: IPv6, Config: "CONFIG_IPV6", Since: "2.6"},
		{Name: BridgeNetfilter, Config: "CONFIG_BRIDGE_NETFILTER", Since: "2.6"},
	}
}

// ErrAbsent: the kernel does not have a feature.
var ErrAbsent = errors.New("the kernel does not have it")

// Kernel is what a kernel has, in one network namespace: one entry for each feature.
type Kernel struct {
	Features []Feature
}

// Has reports whether the feature is present.
func (k Kernel) Has(name FeatureName) bool { return k.Feature(name).Present }

// Feature is what is known of one feature. It is absent when nothing is known of it.
func (k Kernel) Feature(name FeatureName) Feature {
	i := slices.IndexFunc(k.Features, func(f Feature) bool { return f.Name == name })
	if i < 0 {
		return Feature{Name: name, Err: fmt.Errorf("%w: it was not asked", ErrAbsent)}
	}
	return k.Features[i]
}

// Missing are the features that are absent.
func (k Kernel) Missing() []Feature {
	var missing []Feature
	for _, f := range k.Features {
		if !f.Present {
			missing = append(missing, f)
		}
	}
	return missing
}

// Require says which of the features are absent, what they are called in the kernel's configuration, and why, as in "no
// nf_tables family bridge, which CONFIG_NF_TABLES_BRIDGE brings since Linux 3.13: …". The error wraps those of the features.
// nil: all are present.
func (k Kernel) Require(names ...FeatureName) error {
	var err error
	for _, name := range names {
		f := k.Feature(name)
		if f.Present {
			continue
		}
		lack := fmt.Errorf("no %s, %s: %w", f.Name, f.origin(), f.Err)
		if err != nil {
			lack = fmt.Errorf("%w; %w", err, lack)
		}
		err = lack
	}
	return err
}
