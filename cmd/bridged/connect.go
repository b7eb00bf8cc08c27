package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged/client"
)

// connectFlags are the flags of `network connect`.
type connectFlags struct {
	ipv4, ipv6 netip.Addr
	mac        string
	aliases    []string
	options    []pair
	priority   int
}

func networkConnectCommand(a *app) *cobra.Command {
	var f connectFlags
	cmd := &cobra.Command{
		Use:   "connect [flags] NET SANDBOX",
		Short: "Join a sandbox to a further network",
		Long: `Join a sandbox to a further network, while it runs: it gets one more interface.

Of its networks the one with the highest --gw-priority, then the one whose name comes first, has its default route and its
published ports; internal networks only where there is no other.`,
		Example: `  bridged network connect backend web
  bridged network connect --ip 192.168.1.9 --alias db backend web
  bridged network connect -o com.docker.network.endpoint.ifname=up0 --gw-priority 1 uplink web`,
		Args: arguments(2, 2, "NET or SANDBOX"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.networkConnect(cmd, f, args[0], args[1]) }
	flags := cmd.Flags()
	one(flags, &f.ipv4, "ip", "IP", parseIPv4, "the IPv4 address (default chosen)")
	one(flags, &f.ipv6, "ip6", "IP", parseIPv6, "the IPv6 address (default chosen)")
	one(flags, &f.mac, "mac-address", "MAC", parseMAC, "the Ethernet address (default made of the IP address)")
	many(flags, &f.aliases, "alias", "", "NAME", parseAlias, "a further name of the sandbox in the network")
	many(flags, &f.options, "opt", "o", "KEY=VALUE", parsePair, "an option of the interface")
	flags.IntVar(&f.priority, "gw-priority", 0, "the network with the highest has the default route and the ports")
	return cmd
}

func (a *app) networkConnect(cmd *cobra.Command, f connectFlags, network, sandbox string) error {
	config := &client.EndpointConfig{MacAddress: f.mac, Aliases: f.aliases, DriverOpts: pairs(f.options), GwPriority: f.priority}
	if f.ipv4.IsValid() || f.ipv6.IsValid() {
		config.IPAMConfig = &client.EndpointIPAM{IPv4Address: addrText(f.ipv4), IPv6Address: addrText(f.ipv6)}
	}
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Connect(cmd.Context(), network, client.NetworkConnect{Container: sandbox, EndpointConfig: config})
}

// addrText is the address, and "" for none.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func networkDisconnectCommand(a *app) *cobra.Command {
	var in client.NetworkDisconnect
	cmd := &cobra.Command{
		Use:   "disconnect [-f] NET SANDBOX",
		Short: "Take a sandbox out of a network",
		Long: `Take a sandbox out of a network, while it runs. Its default route and its published ports move to another of its networks; without
one, the ports wait for the next one. A lease of somebody who manages containers, as Docker's engine does, is disconnected there; with -f it is
taken away here, when nobody there knows it any more. "bridged network inspect NET" shows the leases, too.`,
		Example: "  bridged network disconnect backend web\n  bridged network disconnect -f docker-8d2a81cb5b3f 4f5c1e9a0b7d",
		Args:    arguments(2, 2, "NET or SANDBOX"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			in.Container = args[1]
			return c.Disconnect(cmd.Context(), args[0], in)
		},
	}
	cmd.Flags().BoolVarP(&in.Force, "force", "f", false, "also take a lease away: SANDBOX is its key, the beginning of that, or its name")
	return cmd
}

func networkPruneCommand(a *app) *cobra.Command {
	var force, asJSON bool
	cmd := &cobra.Command{
		Use:   "prune [-f] [--json]",
		Short: "Remove the networks that nothing is in",
		Long: `Remove all networks that nothing is in, but those that are there from the start and those that Docker's engine made, and print the name
of each. Without -f it asks before.`,
		Example: "  bridged network prune -f",
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !force {
				if err := a.confirm(os.Stdin, "This removes all networks that no sandbox is in."); err != nil {
					return err
				}
			}
			return a.networkPrune(cmd.Context(), asJSON)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) networkPrune(ctx context.Context, asJSON bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	removed, err := c.PruneNetworks(ctx)
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(a.stdout, client.NetworksPruned{NetworksDeleted: removed})
	}
	for _, name := range removed {
		if _, err := fmt.Fprintln(a.stdout, name); err != nil {
			return err
		}
	}
	return nil
}

// confirm asks on stderr whether to go on, and is an error when the answer is not y or yes.
func (a *app) confirm(in io.Reader, what string) error {
	fmt.Fprintf(a.stderr, "%s\nAre you sure you want to continue? [y/N] ", what)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was removed: the answer was not y; use -f to not be asked")
}
