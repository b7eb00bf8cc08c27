package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

func portCommands(a *app) []*cobra.Command {
	return []*cobra.Command{portAddCommand(a), portRemoveCommand(a), portListCommand(a)}
}

// portSpecHelp explains SPEC in the help of the commands.
const portSpecHelp = `SPEC is [HOSTIP:][HOSTPORT[-END]:]PORT[-END][/tcp|udp|sctp]. Without HOSTIP the port is published on every address of
each family that the sandbox has; 0.0.0.0 is IPv4 only, [::] IPv6 only.`

func portAddCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "add SANDBOX SPEC...",
		Short: "Publish ports, print where",
		Long: "Publish ports of a sandbox, all or none, and print where they are, as `port ls` does.\n\n" + portSpecHelp + `
Without HOSTPORT, or with 0, the host's port is chosen. "8000-8010:80" is one of these; "8000-8010:80-90" pairs them.`,
		Example: `  bridged port add web 8080:80 127.0.0.1:8443:443
  bridged port add dns 53:53/udp`,
		Args: portArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.portAdd(cmd.Context(), args[0], args[1:], asJSON)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// portArguments checks SANDBOX SPEC...
func portArguments(cmd *cobra.Command, args []string) error {
	if err := arguments(2, noMore, "SANDBOX or SPEC")(cmd, args); err != nil {
		return err
	}
	for _, spec := range args[1:] {
		if _, err := bridged.ParsePortSpec(spec); err != nil {
			return usage(cmd, "%w", err)
		}
	}
	return nil
}

func (a *app) portAdd(ctx context.Context, sandbox string, specs []string, asJSON bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	added, err := c.AddPorts(ctx, client.PortsAdd{Sandbox: sandbox, Ports: specs})
	if err != nil {
		return err
	}
	a.warn(added.Warnings...)
	return a.printPorts(added.Ports, false, asJSON)
}

func portRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm SANDBOX SPEC...",
		Aliases: []string{"remove"},
		Short:   "Take published ports back",
		Long: "Take the publication of ports back, all or none.\n\n" + portSpecHelp +
			"\nWhat SPEC leaves open matches anything: \"80\" takes back every publication of the container port 80/tcp.",
		Example: `  bridged port rm web 8080:80`,
		Args:    portArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return c.RemovePorts(cmd.Context(), args[0], args[1:])
		},
	}
}

func portListCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls [--json] [SANDBOX]",
		Aliases: []string{"list"},
		Short:   "List the published ports",
		Long: `List the published ports of a sandbox, a line each: "80/tcp -> 0.0.0.0:8080". Without SANDBOX those of all, with the
sandbox's name in a column before.`,
		Example: `  bridged port ls web
  bridged port ls --json`,
		Args: arguments(0, 1, "SANDBOX"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.portList(cmd.Context(), args, asJSON) },
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) portList(ctx context.Context, args []string, asJSON bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	sandbox := ""
	if len(args) > 0 {
		sandbox = args[0]
	}
	all, err := c.Ports(ctx, sandbox)
	if err != nil {
		return err
	}
	return a.printPorts(all, sandbox == "", asJSON)
}

// printPorts prints a line a port; named: with the sandbox's name before.
func (a *app) printPorts(ports []client.Port, named, asJSON bool) error {
	if asJSON {
		return printJSON(a.stdout, ports)
	}
	rows := make([][]string, len(ports))
	for i, p := range ports {
		rows[i] = []string{p.String()}
		if named {
			rows[i] = []string{p.Sandbox, p.String()}
		}
	}
	return printTable(a.stdout, rows)
}
