package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// allCommands are cmd and all below it, less those that cobra adds.
func allCommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		if c.Name() != "help" {
			all = append(all, allCommands(c)...)
		}
	}
	return all
}

// checkExample: an example's flags and arguments are such as the command takes.
func checkExample(t *testing.T, words []string) {
	t.Helper()
	words = words[1:] // less "bridged"
	if words[len(words)-1] == "&" {
		words = words[:len(words)-1]
	}
	cmd, args, err := newRoot(&app{}).Find(words)
	if err != nil {
		t.Errorf("%q: %v", words, err)
		return
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Errorf("%q: %v", words, err)
		return
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		t.Errorf("%q: %v", words, err)
	}
}

// TestHelp: each command has a description, and examples that it takes.
func TestHelp(t *testing.T) {
	for _, cmd := range allCommands(newRoot(&app{})) {
		if cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s has no example or no description", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  bridged ") {
				t.Errorf("%s: %q is no command of ours", cmd.CommandPath(), line)
			}
			checkExample(t, strings.Fields(line))
		}
	}
}

func Example() {
	run([]string{"-H", "tcp://127.0.0.1:2375", "status"}, io.Discard, os.Stdout)
	// Output:
	// bridged: invalid host "tcp://127.0.0.1:2375": want unix:// and the path of the daemon's socket, as in unix:///run/bridged/bridged.sock
}
