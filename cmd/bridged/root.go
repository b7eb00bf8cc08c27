package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bridged/bridged/client"
)

// app is what the commands share.
type app struct {
	stdout, stderr io.Writer
	host           string
}

// dial makes a client of the daemon that the user named.
func (a *app) dial() (*client.Client, error) { return client.Dial(a.host) }

// newRoot builds the tree of commands.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:               "bridged COMMAND",
		Short:             "Container networks on one Linux host, with nothing but netlink",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Example: `  bridged daemon &
  bridged status --wait 10s
  bridged sandbox create -p 8080:80 web
  bridged sandbox exec web -- ip address`,
	}
	root.PersistentFlags().StringVarP(&a.host, "host", "H", cmp.Or(os.Getenv("BRIDGED_HOST"), client.DefaultHost),
		"the daemon's socket, unix://PATH; also BRIDGED_HOST")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		daemonCommand(a),
		statusCommand(a),
		group("network", "Make, show and remove networks, and join sandboxes to them", networkCommands(a)),
		group("sandbox", "Make, show and remove sandboxes, and run commands in them", sandboxCommands(a)),
		group("port", "Publish ports of sandboxes on the host", portCommands(a)),
		group("link", "Let sandboxes reach ports of others that their network keeps apart", linkCommands(a)),
		rulesetCommand(a),
		eventsCommand(a),
		cniCommand(a),
		versionCommand(a),
	)
	needCommand(root)
	ownUseLines(root)
	return root
}

// ownUseLines shows each command's Use as it is, without more flags behind it.
func ownUseLines(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	for _, c := range cmd.Commands() {
		ownUseLines(c)
	}
}

// group is a command that only has others. Its example is made of theirs.
func group(name, short string, commands []*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: name + " COMMAND", Short: short}
	var examples []string
	for _, c := range commands {
		first, _, _ := strings.Cut(c.Example, "\n")
		examples = append(examples, first)
	}
	g.Example = strings.Join(examples, "\n")
	g.AddCommand(commands...)
	needCommand(g)
	return g
}

// needCommand makes anything but one of cmd's commands wrong usage.
func needCommand(cmd *cobra.Command) {
	cmd.SuggestionsMinimumDistance = 2 // letters
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage(cmd, "a command is missing: %s", strings.Join(commandNames(cmd), ", "))
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usage(cmd, "unknown command %q for %q: did you mean %s?", args[0], cmd.CommandPath(), strings.Join(near, " or "))
		}
		return usage(cmd, "unknown command %q for %q: there are %s", args[0], cmd.CommandPath(), strings.Join(commandNames(cmd), ", "))
	}
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// noMore is the maximum of an argument list that has none.
const noMore = -1

// arguments checks that there are least to most arguments and that none is empty. name is what they are called.
func arguments(least, most int, name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage(cmd, "%s is missing", name)
		case most != noMore && len(args) > most:
			return usage(cmd, "unexpected argument %q", args[most])
		}
		for _, arg := range args {
			if arg == "" {
				return usage(cmd, "%s is empty", name)
			}
		}
		return nil
	}
}

// flagError is the error of a flag; of those that pflag itself parses it says what was expected.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		want := map[string]string{"bool": "true or false", "int": "a whole number", "duration": "a duration, as in 10s"}
		if w, ok := want[invalid.GetFlag().Value.Type()]; ok {
			return usage(cmd, "invalid argument %q for \"--%s\" flag: want %s", invalid.GetValue(), invalid.GetFlag().Name, w)
		}
	}
	return usage(cmd, "%w", err)
}

// usage is an error of the command line itself.
func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{command: cmd, err: fmt.Errorf(format, args...)}
}
