package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/engine"
)

// daemonFlags are the flags of `bridged daemon`: what is parsed goes to config at once.
type daemonFlags struct {
	config   engine.Config
	file     string // of more flags
	firewall bool
	socket   string
	// pluginSocket is where Docker's engine makes its plugin calls; "": it makes none. dockerSocket is where it is asked itself; "": nowhere.
	pluginSocket, dockerSocket string
	logLevel                   slog.Level
	logFormat                  string
}

// minMTU is the smallest MTU of IPv4: RFC 791. maxMTU is the kernel's for a veth pair, ETH_MAX_MTU.
const minMTU, maxMTU = 68, 65535

// add adds the flags to the command.
func (f *daemonFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	c := &f.config
	c.IP = netip.IPv4Unspecified()
	f.logFormat, c.Protection = "text", "auto"
	defaultSocket := strings.TrimPrefix(client.DefaultHost, "unix://")

	flags.StringVarP(&c.Bridge, "bridge", "b", "", "use this existing bridge as the default network; none: no default network")
	flags.StringVar(&c.BridgeName, "bridge-name", "docker0", "interface name of the default bridge")
	one(flags, &c.BIP, "bip", "CIDR", parseBIP, "IPv4 address and prefix length of the default bridge (default chosen)")
	one(flags, &c.BIP6, "bip6", "CIDR", parseBIP6, "IPv6 address and prefix length of the default bridge (default chosen)")
	one(flags, &c.FixedCIDR, "fixed-cidr", "CIDR", parseSubnetOf(netip.Addr.Is4, "172.17.128.0/17"),
		"give out addresses of this part of the default bridge's IPv4 subnet only")
	one(flags, &c.FixedCIDR6, "fixed-cidr-v6", "CIDR", parseSubnetOf(netip.Addr.Is6, "fd00:1::/80"),
		"give out addresses of this part of the IPv6 subnet only; without --bip6 the subnet itself")
	flags.BoolVar(&c.IPv6, "ipv6", false, "IPv6 on the default bridge")
	flags.BoolVar(&c.ICC, "icc", true, "inter-container communication on the default bridge")
	flags.BoolVar(&f.firewall, "iptables", true, "program packet filter and NAT rules")
	flags.BoolVar(&f.firewall, "firewall", true, "another name of --iptables")
	flags.BoolVar(&c.IPForward, "ip-forward", true, "switch IP forwarding on")
	flags.BoolVar(&c.IPForwardNoDrop, "ip-forward-no-drop", false, "let the host forward between other interfaces when IP forwarding was switched on")
	flags.BoolVar(&c.IPMasq, "ip-masq", true, "masquerade what leaves the bridges' subnets")
	one(flags, &c.IP, "ip", "IP", parseIP, "host address of published ports that name none (default 0.0.0.0: every address of both families)")
	one(flags, &c.MTU, "mtu", "BYTES", parseMTU, "MTU of bridges and sandboxes (default that of the default route, else 1500)")
	many(flags, &c.Pools, "default-address-pool", "", "base=CIDR,size=N", parsePool,
		"cut this prefix into subnets of N bits for networks created without one")

	flags.StringVar(&f.file, "config", "", "a TOML file of these flags, without the dashes; flags that are given win over it")
	flags.StringVar(&f.socket, "socket", defaultSocket, "the unix socket to listen on")
	flags.StringVar(&f.pluginSocket, "docker-plugin-socket", "",
		"the unix socket to be Docker's network and IPAM driver on, as /run/docker/plugins/bridged.sock (default none)")
	flags.StringVar(&f.dockerSocket, "docker-engine-socket", "/run/docker.sock",
		"the unix socket on which Docker's engine is asked for the names of its containers; empty: it is not asked")
	flags.StringVar(&c.RunDir, "run-dir", "/run/bridged", "directory of what does not outlive a boot")
	flags.StringVar(&c.StateDir, "state-dir", "/var/lib/bridged", "directory of the networks")
	one(flags, &c.Protection, "protection", "HOW", parseOneOf("auto", "owner+persist", "monitor"),
		"how the tables are kept from others: auto, owner+persist or monitor (default auto)")
	one(flags, &f.logLevel, "log-level", "LEVEL", parseLevel, "debug, info, warn or error (default info)")
	one(flags, &f.logFormat, "log-format", "FORMAT", parseOneOf("text", "json"), "text or json (default text)")
}

// read completes the flags with those of the file, and checks them all.
func (f *daemonFlags) read(cmd *cobra.Command) error {
	var c configFile
	if cmd.Flags().Changed("config") {
		var err error
		if c, err = readConfigFile(f.file); err != nil {
			return err
		}
		if err := c.applyTo(cmd.Flags()); err != nil {
			return err
		}
	}
	if err := f.check(cmd); err != nil {
		return c.from(usage(cmd, "%w", err), cmd.Flags())
	}
	return nil
}

// check says what is wrong with the flags: those of the process here, those of the networks in the engine.
func (f *daemonFlags) check(cmd *cobra.Command) error {
	switch {
	case cmd.Flags().Changed("host"):
		return errors.New("--host is where clients look for the daemon: use --socket to say where it listens")
	case cmd.Flags().Changed("bridge") && f.config.Bridge == "":
		return errors.New("--bridge is empty: want the name of an existing bridge, or none")
	case cmd.Flags().Changed("iptables") && cmd.Flags().Changed("firewall"):
		return errors.New("--iptables and --firewall are two names of the same flag: use one of them")
	}
	f.config.FirewallFlag = "iptables"
	if cmd.Flags().Changed("firewall") {
		f.config.FirewallFlag = "firewall"
	}
	f.config.NoFirewall = !f.firewall
	if err := f.checkSockets(); err != nil {
		return err
	}
	for _, dir := range []struct{ flag, path string }{{"run-dir", f.config.RunDir}, {"state-dir", f.config.StateDir}} {
		if !strings.HasPrefix(dir.path, "/") {
			return fmt.Errorf("--%s %q: want an absolute path", dir.flag, dir.path)
		}
	}
	if c := f.config; (c.IPv6 || c.BIP6.IsValid() || c.FixedCIDR6.IsValid()) && c.MTU != 0 && c.MTU < minMTU6 {
		return fmt.Errorf("--mtu %d is too small for IPv6: want %d or more", c.MTU, minMTU6)
	}
	return f.config.Check()
}

// checkSockets checks the paths of sockets; the first is needed.
func (f *daemonFlags) checkSockets() error {
	for i, socket := range []struct{ flag, path string }{
		{"socket", f.socket}, {"docker-plugin-socket", f.pluginSocket}, {"docker-engine-socket", f.dockerSocket},
	} {
		if _, err := client.SocketPath("unix://" + socket.path); err != nil && (i == 0 || socket.path != "") {
			return fmt.Errorf("--%s: %w", socket.flag, err)
		}
	}
	if f.pluginSocket == f.socket {
		return fmt.Errorf("--docker-plugin-socket %s is --socket, too: want two sockets", f.pluginSocket)
	}
	return nil
}

// minMTU6 is the smallest MTU of IPv6: RFC 8200.
const minMTU6 = 1280

func parseBIP(text string) (netip.Prefix, error) {
	return parseInterfaceCIDR(text, netip.Addr.Is4, "172.17.42.1/16")
}

func parseBIP6(text string) (netip.Prefix, error) {
	return parseInterfaceCIDR(text, netip.Addr.Is6, "fd00:1::1/64")
}

func parseMTU(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < minMTU || n > maxMTU {
		return 0, fmt.Errorf("want a number of bytes from %d to %d", minMTU, maxMTU)
	}
	return n, nil
}

func parseLevel(text string) (level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return 0, errors.New("want one of debug, info, warn, error")
	}
	return level, nil
}

// parsePool reads base=CIDR,size=N, in any order.
func parsePool(text string) (engine.AddressPool, error) {
	var pool engine.AddressPool
	fail := func(why string) (engine.AddressPool, error) {
		return engine.AddressPool{}, fmt.Errorf("%s: want base=CIDR,size=BITS, as in base=10.64.0.0/10,size=24", why)
	}
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		var err error
		switch {
		case key == "base" && !pool.Base.IsValid():
			pool.Base, err = parseSubnet(value)
		case key == "size" && pool.Size == 0:
			pool.Size, err = strconv.Atoi(value)
		default:
			return fail(fmt.Sprintf("unexpected %q", part))
		}
		if err != nil {
			return fail(fmt.Sprintf("%q is malformed", part))
		}
	}
	switch most := pool.Base.Addr().BitLen() - 2; {
	case !pool.Base.IsValid():
		return fail("base is missing")
	case pool.Size == 0:
		return fail("size is missing")
	case pool.Size < pool.Base.Bits() || pool.Size > most:
		return fail(fmt.Sprintf("size %d is not from %d, the base's own, to %d", pool.Size, pool.Base.Bits(), most))
	}
	return pool, nil
}
