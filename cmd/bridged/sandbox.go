package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

func sandboxCommands(a *app) []*cobra.Command {
	return []*cobra.Command{
		sandboxCreateCommand(a), sandboxListCommand(a), sandboxInspectCommand(a), sandboxRemoveCommand(a), sandboxExecCommand(a),
	}
}

// sandboxFlags are the flags of `sandbox create`.
type sandboxFlags struct {
	network, netns string
	pid            int
	ipv4, ipv6     netip.Addr
	mac            string
	ports          []string
	asJSON         bool
}

func sandboxCreateCommand(a *app) *cobra.Command {
	var f sandboxFlags
	cmd := &cobra.Command{
		Use:   "create [flags] NAME",
		Short: "Make a sandbox, print its id",
		Long: `Make a sandbox, join it to a network, publish its ports, all or nothing, and print its id.

Without --netns and --pid the daemon makes the namespace /run/netns/NAME, and removes it with the sandbox. One that is
given is never removed.`,
		Example: `  bridged sandbox create -p 8080:80 web
  bridged sandbox create --network backend --ip 192.168.1.9 --pid 4711 db`,
		Args: arguments(1, 1, "NAME"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.sandboxCreate(cmd, f, args[0]) }
	flags := cmd.Flags()
	flags.StringVar(&f.network, "network", "", "a network's name or id, host or none (default the network bridge, none without one)")
	one(flags, &f.ipv4, "ip", "IP", parseIPv4, "the IPv4 address (default chosen)")
	one(flags, &f.ipv6, "ip6", "IP", parseIPv6, "the IPv6 address (default chosen)")
	one(flags, &f.mac, "mac-address", "MAC", parseMAC, "the Ethernet address (default made of the IP address)")
	many(flags, &f.ports, "publish", "p", "SPEC", parsePublish, "publish ports: [HOSTIP:][HOSTPORT[-END]:]PORT[-END][/tcp|udp|sctp]")
	flags.StringVar(&f.netns, "netns", "", "path of an existing network namespace")
	flags.IntVar(&f.pid, "pid", 0, "a process whose network namespace it is")
	jsonFlag(cmd, &f.asJSON)
	return cmd
}

func (a *app) sandboxCreate(cmd *cobra.Command, f sandboxFlags, name string) error {
	in, err := f.request(cmd, name)
	if err != nil {
		return usage(cmd, "%w", err)
	}
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	made, err := c.CreateSandbox(cmd.Context(), in)
	if err != nil {
		return err
	}
	a.warn(made.Warnings...)
	if f.asJSON {
		return printJSON(a.stdout, made)
	}
	_, err = fmt.Fprintln(a.stdout, made.ID)
	return err
}

// request is the body that the flags ask for.
func (f sandboxFlags) request(cmd *cobra.Command, name string) (in client.SandboxCreate, err error) {
	if err := bridged.CheckName("sandbox", name); err != nil {
		return in, err
	}
	netns, pid := cmd.Flags().Changed("netns"), cmd.Flags().Changed("pid")
	switch {
	case netns && pid:
		return in, fmt.Errorf("--netns %q and --pid %d: give one of them", f.netns, f.pid)
	case netns && f.netns == "":
		return in, fmt.Errorf("--netns is empty: want the path of a network namespace")
	case pid && f.pid <= 0:
		return in, fmt.Errorf("--pid %d is no process id", f.pid)
	case cmd.Flags().Changed("network") && f.network == "":
		return in, fmt.Errorf("--network is empty: want a network's name or id, host or none")
	}
	in = client.SandboxCreate{Name: name, Network: f.network, PID: f.pid, MacAddress: f.mac, Ports: f.ports}
	if netns {
		if in.NetNS, err = filepath.Abs(f.netns); err != nil {
			return in, fmt.Errorf("--netns %q: %w", f.netns, err)
		}
	}
	if f.ipv4.IsValid() {
		in.IPv4Address = f.ipv4.String()
	}
	if f.ipv6.IsValid() {
		in.IPv6Address = f.ipv6.String()
	}
	return in, nil
}

func sandboxListCommand(a *app) *cobra.Command {
	var asJSON, quiet bool
	cmd := &cobra.Command{
		Use:     "ls [-q | --json]",
		Aliases: []string{"list"},
		Short:   "List the sandboxes",
		Example: `  bridged sandbox ls
  bridged sandbox ls -q`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.sandboxList(cmd.Context(), asJSON, quiet) },
	}
	jsonFlag(cmd, &asJSON)
	quietFlag(cmd, &quiet)
	return cmd
}

func (a *app) sandboxList(ctx context.Context, asJSON, quiet bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Sandboxes(ctx)
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(a.stdout, all)
	}
	rows := [][]string{{"SANDBOX ID", "NAME", "MODE", "NETWORK", "ADDRESS", "PORTS"}}
	if quiet {
		rows = nil
	}
	for _, sb := range all {
		row := sandboxRow(sb)
		if quiet {
			row = row[:1]
		}
		rows = append(rows, row)
	}
	return printTable(a.stdout, rows)
}

// sandboxRow is a sandbox's row; ports look as in `docker ps`.
func sandboxRow(sb client.Sandbox) []string {
	networks := slices.Sorted(maps.Keys(sb.Networks))
	var addresses, ports []string
	for _, n := range networks {
		for _, a := range []string{sb.Networks[n].IPAddress, sb.Networks[n].GlobalIPv6Address} {
			if a != "" {
				addresses = append(addresses, a)
			}
		}
	}
	for _, port := range slices.Sorted(maps.Keys(sb.Ports)) {
		for _, h := range sb.Ports[port] {
			ports = append(ports, net.JoinHostPort(h.HostIP, h.HostPort)+"->"+port)
		}
	}
	return []string{shortID(sb.ID), sb.Name, sb.Mode, joinOr(networks), joinOr(addresses), joinOr(ports)}
}

func sandboxInspectCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "inspect NAME...",
		Short:   "Show sandboxes as a JSON array",
		Example: "  bridged sandbox inspect web",
		Args:    arguments(1, noMore, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect(a, args, func(c *client.Client, ref string) (client.Sandbox, error) { return c.Sandbox(cmd.Context(), ref) })
		},
	}
	jsonFlag(cmd, new(bool))
	return cmd
}

func sandboxRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"remove"},
		Short:   "Remove sandboxes",
		Long: "Remove sandboxes with their interfaces, addresses and ports, and print the name of each when it is gone. An error does " +
			"not keep the others.",
		Example: "  bridged sandbox rm web db",
		Args:    arguments(1, noMore, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.remove(args, func(c *client.Client, ref string) error { return c.RemoveSandbox(cmd.Context(), ref) })
		},
	}
}
