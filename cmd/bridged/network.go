package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

func networkCommands(a *app) []*cobra.Command {
	return []*cobra.Command{
		networkCreateCommand(a), networkListCommand(a), networkInspectCommand(a), networkRemoveCommand(a), networkPruneCommand(a),
		networkConnectCommand(a), networkDisconnectCommand(a),
	}
}

// networkFlags are the flags of `network create`.
type networkFlags struct {
	driver          string
	subnets, ranges []netip.Prefix
	gateways        []netip.Addr
	aux             []named
	ipv4, ipv6      bool
	internal        bool
	options, labels []pair
	asJSON          bool
}

func networkCreateCommand(a *app) *cobra.Command {
	var f networkFlags
	cmd := &cobra.Command{
		Use:   "create [flags] NAME",
		Short: "Make a network, print its id",
		Long:  "Make a network and print its id. Without a subnet it gets the next free one of the address pools.",
		Example: `  bridged network create --subnet 192.168.1.0/24 --gateway 192.168.1.1 backend
  bridged network create --ipv6 --internal --label tier=db database
  bridged network create --ipv4=false --ipv6 --subnet fd00:7::/64 modern`,
		Args: arguments(1, 1, "NAME"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.networkCreate(cmd, f, args[0]) }
	flags := cmd.Flags()
	flags.StringVarP(&f.driver, "driver", "d", string(bridged.DriverBridge), "what the network is made of")
	many(flags, &f.subnets, "subnet", "", "CIDR", parseSubnet, "subnet, one a family")
	many(flags, &f.gateways, "gateway", "", "IP", parseIP, "the bridge's own address in a subnet")
	many(flags, &f.ranges, "ip-range", "", "CIDR", parseSubnet, "give out addresses of this part of a subnet only")
	many(flags, &f.aux, "aux-address", "", "NAME=IP", parseNamed, "an address that is something else's, never given out")
	flags.BoolVar(&f.ipv4, "ipv4", true, "with IPv4; --ipv4=false needs --ipv6")
	flags.BoolVar(&f.ipv6, "ipv6", false, "with IPv6")
	flags.BoolVar(&f.internal, "internal", false, "members reach one another only")
	many(flags, &f.options, "opt", "o", "KEY=VALUE", parsePair, "an option of the driver")
	many(flags, &f.labels, "label", "", "KEY=VALUE", parsePair, "a label")
	jsonFlag(cmd, &f.asJSON)
	return cmd
}

func (a *app) networkCreate(cmd *cobra.Command, f networkFlags, name string) error {
	if err := bridged.CheckName("network", name); err != nil {
		return usage(cmd, "%w", err)
	}
	if !f.ipv4 && !f.ipv6 {
		return usage(cmd, "--ipv4=false needs --ipv6: a network has one of them, or both")
	}
	config, err := f.ipamConfig()
	if err != nil {
		return usage(cmd, "%w", err)
	}
	in := client.NetworkCreate{
		Name:     name,
		Driver:   f.driver,
		Internal: f.internal,
		Options:  pairs(f.options),
		Labels:   pairs(f.labels),
	}
	if len(config) > 0 {
		in.IPAM = &client.IPAM{Config: config}
	}
	if cmd.Flags().Changed("ipv4") {
		in.EnableIPv4 = &f.ipv4
	}
	if cmd.Flags().Changed("ipv6") {
		in.EnableIPv6 = &f.ipv6
	}
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	made, err := c.CreateNetwork(cmd.Context(), in)
	if err != nil {
		return err
	}
	a.warn(made.Warning)
	if f.asJSON {
		return printJSON(a.stdout, made)
	}
	_, err = fmt.Fprintln(a.stdout, made.ID)
	return err
}

// ipamConfig puts gateways, ranges and auxiliary addresses with the subnets that they are in.
func (f networkFlags) ipamConfig() ([]client.IPAMConfig, error) {
	config := make([]client.IPAMConfig, len(f.subnets))
	for i, s := range f.subnets {
		for _, other := range f.subnets[:i] {
			if other.Addr().Is4() == s.Addr().Is4() {
				return nil, fmt.Errorf("--subnet %s and --subnet %s are of the same family: a network has one subnet of each", other, s)
			}
		}
		config[i].Subnet = s.String()
	}
	home := func(flag, value string, addr netip.Addr) (*client.IPAMConfig, error) {
		for i, s := range f.subnets {
			if s.Contains(addr) {
				return &config[i], nil
			}
		}
		return nil, fmt.Errorf("--%s %s is in no --subnet of this command", flag, value)
	}
	for _, g := range f.gateways {
		c, err := home("gateway", g.String(), g)
		switch {
		case err != nil:
			return nil, err
		case c.Gateway != "":
			return nil, fmt.Errorf("--gateway %s and --gateway %s are in the same subnet: it has one", c.Gateway, g)
		}
		c.Gateway = g.String()
	}
	for _, r := range f.ranges {
		c, err := home("ip-range", r.String(), r.Addr())
		switch {
		case err != nil:
			return nil, err
		case c.IPRange != "":
			return nil, fmt.Errorf("--ip-range %s and --ip-range %s are in the same subnet: it has one", c.IPRange, r)
		}
		c.IPRange = r.String()
	}
	for _, x := range f.aux {
		c, err := home("aux-address", x.name+"="+x.addr.String(), x.addr)
		if err != nil {
			return nil, err
		}
		if c.AuxiliaryAddresses == nil {
			c.AuxiliaryAddresses = make(map[string]string)
		}
		c.AuxiliaryAddresses[x.name] = x.addr.String()
	}
	return config, nil
}

func networkListCommand(a *app) *cobra.Command {
	var asJSON, quiet bool
	cmd := &cobra.Command{
		Use:     "ls [-q | --json]",
		Aliases: []string{"list"},
		Short:   "List the networks",
		Example: `  bridged network ls
  bridged network ls --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.networkList(cmd.Context(), asJSON, quiet) },
	}
	jsonFlag(cmd, &asJSON)
	quietFlag(cmd, &quiet)
	return cmd
}

func (a *app) networkList(ctx context.Context, asJSON, quiet bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Networks(ctx)
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(a.stdout, all)
	}
	rows := [][]string{{"NETWORK ID", "NAME", "DRIVER", "SCOPE"}}
	if quiet {
		rows = nil
	}
	for _, n := range all {
		row := []string{shortID(n.ID), n.Name, n.Driver, n.Scope}
		if quiet {
			row = row[:1]
		}
		rows = append(rows, row)
	}
	return printTable(a.stdout, rows)
}

func networkInspectCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "inspect NET...",
		Short:   "Show networks and their members as a JSON array",
		Example: "  bridged network inspect bridge",
		Args:    arguments(1, noMore, "NET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect(a, args, func(c *client.Client, ref string) (client.Network, error) { return c.Network(cmd.Context(), ref) })
		},
	}
	jsonFlag(cmd, new(bool))
	return cmd
}

// inspect prints what args name as one JSON array, and then the errors of those that could not be had.
func inspect[T any](a *app, args []string, get func(*client.Client, string) (T, error)) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	found := []T{}
	failed := forEach(args, func(ref string) error {
		x, err := get(c, ref)
		if err == nil {
			found = append(found, x)
		}
		return err
	})
	if errors.Is(failed, bridged.ErrUnavailable) {
		return failed
	}
	if err := printJSON(a.stdout, found); err != nil {
		return err
	}
	return failed
}

func networkRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NET...",
		Aliases: []string{"remove"},
		Short:   "Remove networks that have no members",
		Long: `Remove networks that have no members, and print the name of each when it is gone. An error does not keep the others. A subnet that is
reserved for a network that was never made, as 10.77.0.0/24, is removed the same way.`,
		Example: "  bridged network rm backend database",
		Args:    arguments(1, noMore, "NET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.remove(args, func(c *client.Client, ref string) error { return c.RemoveNetwork(cmd.Context(), ref) })
		},
	}
}

// remove removes what args name and prints each name when it is gone. It goes on after an error.
func (a *app) remove(args []string, remove func(*client.Client, string) error) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return forEach(args, func(ref string) error {
		if err := remove(c, ref); err != nil {
			return err
		}
		_, err := fmt.Fprintln(a.stdout, ref)
		return err
	})
}

// joinOr joins the words, and is "-" for none: a table's column is never empty.
func joinOr(words []string) string {
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ", ")
}
