package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

func linkCommands(a *app) []*cobra.Command {
	return []*cobra.Command{linkAddCommand(a), linkRemoveCommand(a), linkListCommand(a)}
}

func linkAddCommand(a *app) *cobra.Command {
	var in client.LinkCreate
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "add [--alias A] [--port N/PROTO]... PARENT CHILD",
		Short: "Let a sandbox reach ports of another one",
		Long: `Let the sandbox PARENT reach ports of the sandbox CHILD on the networks without inter-container communication that both are in.
CHILD can answer, and nothing else: for the other direction there is another link.

Without --port it is the ports that CHILD publishes, as they come and go. The link follows both sandboxes when their addresses
and networks change, and goes with the first of them that is removed.`,
		Example: `  bridged link add web db
  bridged link add --alias database --port 5432/tcp web db`,
		Args: arguments(2, 2, "PARENT or CHILD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Parent, in.Child = args[0], args[1]
			return a.linkAdd(cmd.Context(), in, asJSON)
		},
	}
	flags := cmd.Flags()
	one(flags, &in.Alias, "alias", "A", parseAlias, "what PARENT calls CHILD; it is only shown (default CHILD's name)")
	many(flags, &in.Ports, "port", "", "N/PROTO", parseLinkPort, "a port of CHILD, with tcp, udp or sctp (default what it publishes)")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func parseAlias(text string) (string, error) { return text, bridged.CheckName("alias", text) }

// parseLinkPort reads a port, and gives it back with its protocol.
func parseLinkPort(text string) (string, error) {
	p, err := bridged.ParseProtoPort(text)
	if err != nil {
		return "", fmt.Errorf("want a port and tcp, udp or sctp, as in 5432/tcp")
	}
	return p.String(), nil
}

func (a *app) linkAdd(ctx context.Context, in client.LinkCreate, asJSON bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := c.AddLink(ctx, in)
	if err != nil || !asJSON {
		return err
	}
	return printJSON(a.stdout, l)
}

func linkRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm PARENT CHILD",
		Aliases: []string{"remove"},
		Short:   "Take a link back",
		Long:    "Take the link from PARENT to CHILD back. Connections through it have ended when the command has.",
		Example: "  bridged link rm web db",
		Args:    arguments(2, 2, "PARENT or CHILD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			return c.RemoveLink(cmd.Context(), args[0], args[1])
		},
	}
}

func linkListCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls [--json] [SANDBOX]",
		Aliases: []string{"list"},
		Short:   "List the links",
		Long:    "List the links of a sandbox, in both directions; without SANDBOX those of all.",
		Example: `  bridged link ls
  bridged link ls --json db`,
		Args: arguments(0, 1, "SANDBOX"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.linkList(cmd.Context(), args, asJSON) },
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) linkList(ctx context.Context, args []string, asJSON bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Links(ctx, strings.Join(args, ""))
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(a.stdout, all)
	}
	rows := [][]string{{"PARENT", "CHILD", "ALIAS", "PORTS"}}
	for _, l := range all {
		rows = append(rows, linkRow(l))
	}
	return printTable(a.stdout, rows)
}

// linkRow is a link's row; the ends of a link between addresses are named with these.
func linkRow(l client.Link) []string {
	parent, child, alias, ports := l.Parent, l.Child, l.Alias, strings.Join(l.Ports, ", ")
	if l.ParentIP != "" {
		parent, child = fmt.Sprintf("%s (%s)", parent, l.ParentIP), fmt.Sprintf("%s (%s)", child, l.ChildIP)
	}
	if alias == "" {
		alias = "-"
	}
	if ports == "" {
		ports = "published"
	}
	return []string{parent, child, alias, ports}
}
