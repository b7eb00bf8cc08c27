package cni

// identityKeys are those that every command needs.
var identityKeys = object[Config]{
	open: true,
	keys: []key[Config]{
		{"cniVersion", func(c *Config) any { return &c.Version }},
		{"name", func(c *Config) any { return &c.Name }},
		{"socket", func(c *Config) any { return &c.Socket }},
		{"cni.dev/valid-attachments", func(c *Config) any { return &c.Valid }},
	},
}

// configKeys are those of an entry of a configuration list.
var configKeys = object[Config]{
	keys: append([]key[Config]{
		{"type", func(*Config) any { return new(string) }},
		{"bridge", func(c *Config) any { return &c.Bridge }},
		{"mtu", func(c *Config) any { return &c.MTU }},
		{"isGateway", func(c *Config) any { return &c.IsGateway }},
		{"isDefaultGateway", func(c *Config) any { return &c.IsDefaultGateway }},
		{"forceAddress", func(c *Config) any { return &c.ForceAddress }},
		{"ipMasq", func(c *Config) any { return &c.IPMasq }},
		{"hairpinMode", func(c *Config) any { return &c.HairpinMode }},
		{"promiscMode", func(c *Config) any { return &c.PromiscMode }},
		{"macspoofchk", func(c *Config) any { return &c.MACSpoofCheck }},
		{"portIsolation", func(c *Config) any { return &c.PortIsolation }},
		{"enabledad", func(c *Config) any { return &c.EnableDAD }},
		{"disableContainerInterface", func(c *Config) any { return &c.DisableContainerInterface }},
		{"snat", func(c *Config) any { return &c.SNAT }},
		{"conditionsV4", func(c *Config) any { return &c.ConditionsV4 }},
		{"conditionsV6", func(c *Config) any { return &c.ConditionsV6 }},
		{"ingressPolicy", func(c *Config) any { return &c.IngressPolicy }},
		{"sysctl", func(c *Config) any { return &c.Sysctl }},
		{"mac", func(c *Config) any { return &c.MAC }},
		{"promisc", func(c *Config) any { return &c.Promisc }},
		{"ingressRate", func(c *Config) any { return &c.IngressRate }},
		{"ingressBurst", func(c *Config) any { return &c.IngressBurst }},
		{"egressRate", func(c *Config) any { return &c.EgressRate }},
		{"egressBurst", func(c *Config) any { return &c.EgressBurst }},
		{"capabilities", func(c *Config) any { return &c.Capabilities }},
		{"ipam", func(c *Config) any { c.IPAM = new(ipam); return c.IPAM }},
		{"dns", func(c *Config) any { return &c.DNS }},
		{"runtimeConfig", func(c *Config) any { return &c.RuntimeConfig }},
		{"args", func(c *Config) any { return &c.Args }},
		{"prevResult", func(c *Config) any { return &c.PrevResult }},
	}, identityKeys.keys...),
	without: []refusal{
		{"vlan", "the daemon's bridges have no VLAN filtering: make a network for each VLAN"},
		{"vlanTrunk", "the daemon's bridges have no VLAN filtering: make a network for each VLAN"},
		{"preserveDefaultVlan", "the daemon's bridges have no VLAN filtering: remove the key"},
		{"ipMasqBackend", "there is one packet filter, nf_tables by netlink: remove the key"},
		{"backend", "there is one packet filter, nf_tables by netlink: remove the key"},
		{"markMasqBit", "what is masqueraded carries no mark: remove the key"},
		{"externalSetMarkChain", "what is masqueraded carries no mark: remove the key"},
		{"masqAll", "a container sees who connects to its published ports: remove the key"},
		{"iptablesAdminChainName", "there are no chains of iptables: put rules of your own into a table of your own"},
		{"firewalldZone", "firewalld is not asked: remove the key"},
		{"dataDir", "nothing is kept beside the daemon's own state: remove the key"},
		{"allmulti", "only promisc, mac, mtu and sysctl of an interface can be set: remove the key"},
		{"txQLen", "only promisc, mac, mtu and sysctl of an interface can be set: remove the key"},
		{"shapedSubnets", "bandwidth limits everything that a container sends or receives: remove the key"},
		{"unshapedSubnets", "bandwidth limits everything that a container sends or receives: remove the key"},
	},
}

// ipamKeys are those of "ipam". They are those of host-local, whichever type it has, and ipv6.
var ipamKeys = object[ipam]{
	keys: []key[ipam]{
		{"type", func(i *ipam) any { return &i.Type }},
		{"ranges", func(i *ipam) any { return &i.Ranges }},
		{"routes", func(i *ipam) any { return &i.Routes }},
		{"resolvConf", func(i *ipam) any { return &i.ResolvConf }},
		{"ipv6", func(i *ipam) any { return &i.IPv6 }},
		{"dataDir", func(*ipam) any { return new(string) }}, // where the addresses that are taken were kept: that is the daemon's business
		{"subnet", func(i *ipam) any { return &i.single.Subnet }},
		{"rangeStart", func(i *ipam) any { return &i.single.RangeStart }},
		{"rangeEnd", func(i *ipam) any { return &i.single.RangeEnd }},
		{"gateway", func(i *ipam) any { return &i.single.Gateway }},
	},
}

// routeKeys are those of a route.
var routeKeys = object[route]{
	keys: []key[route]{
		{"dst", func(r *route) any { return &r.Dst }},
		{"gw", func(r *route) any { return &r.Gateway }},
		{"mtu", func(r *route) any { return &r.MTU }},
		{"priority", func(r *route) any { return &r.Priority }},
		{"table", func(r *route) any { return &r.Table }},
	},
	without: []refusal{
		{"advmss", "the kernel takes it from the path's MTU: use mtu"},
		{"scope", "it follows from gw: remove the key"},
	},
}

// rangeKeys are those of one range of addresses.
var rangeKeys = object[addressRange]{
	keys: []key[addressRange]{
		{"subnet", func(r *addressRange) any { return &r.Subnet }},
		{"rangeStart", func(r *addressRange) any { return &r.RangeStart }},
		{"rangeEnd", func(r *addressRange) any { return &r.RangeEnd }},
		{"gateway", func(r *addressRange) any { return &r.Gateway }},
	},
}

// runtimeKeys are those of "runtimeConfig": the capabilities.
var runtimeKeys = object[runtimeConfig]{
	keys: []key[runtimeConfig]{
		{"portMappings", func(r *runtimeConfig) any { return &r.Ports }},
		{"bandwidth", func(r *runtimeConfig) any { return &r.Bandwidth }},
		{"dns", func(r *runtimeConfig) any { return &r.DNS }},
		{"ips", func(r *runtimeConfig) any { return &r.IPs }},
		{"mac", func(r *runtimeConfig) any { return &r.MAC }},
		{"ipRanges", func(r *runtimeConfig) any { return &r.Ranges }},
		{"aliases", func(r *runtimeConfig) any { return &r.Aliases }},
		{"io.kubernetes.cri.pod-annotations", func(r *runtimeConfig) any { return &r.Pod }},
	},
}

// argsKeys are those of "args", of which only "cni" is for plugins of this kind.
var argsKeys = object[args]{
	open: true,
	keys: []key[args]{{"cni", func(a *args) any { return &a.CNI }}},
}

// cniArgsKeys are those of "args.cni"; others are for other plugins.
var cniArgsKeys = object[cniArgs]{
	open: true,
	keys: []key[cniArgs]{
		{"ips", func(a *cniArgs) any { return &a.IPs }},
		{"mac", func(a *cniArgs) any { return &a.MAC }},
		{"mtu", func(a *cniArgs) any { return &a.MTU }},
		{"promisc", func(a *cniArgs) any { return &a.Promisc }},
		{"sysctl", func(a *cniArgs) any { return &a.Sysctl }},
	},
}

// dnsKeys are those of "dns".
var dnsKeys = object[DNS]{
	keys: []key[DNS]{
		{"nameservers", func(d *DNS) any { return &d.Nameservers }},
		{"domain", func(d *DNS) any { return &d.Domain }},
		{"search", func(d *DNS) any { return &d.Search }},
		{"options", func(d *DNS) any { return &d.Options }},
	},
}

func (i *ipam) decodeAt(path string, text []byte) error  { return ipamKeys.decode(i, path, text) }
func (r *route) decodeAt(path string, text []byte) error { return routeKeys.decode(r, path, text) }
func (r *addressRange) decodeAt(path string, text []byte) error {
	return rangeKeys.decode(r, path, text)
}
func (r *runtimeConfig) decodeAt(path string, text []byte) error {
	return runtimeKeys.decode(r, path, text)
}
func (a *args) decodeAt(path string, text []byte) error    { return argsKeys.decode(a, path, text) }
func (a *cniArgs) decodeAt(path string, text []byte) error { return cniArgsKeys.decode(a, path, text) }
func (d *DNS) decodeAt(path string, text []byte) error     { return dnsKeys.decode(d, path, text) }
