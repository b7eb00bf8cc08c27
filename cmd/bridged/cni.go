package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged/cni"
)

// pluginName is what the binary is called as a plugin, and the type in configurations.
const pluginName = "bridged-cni"

// isPlugin reports whether the command line is that of a plugin: called bridged-cni, or `bridged cni` and nothing more.
func isPlugin(args []string) bool {
	return len(args) > 0 && filepath.Base(args[0]) == pluginName || len(args) == 2 && args[1] == "cni"
}

// runPlugin is one run of the plugin. It returns the exit status.
func runPlugin(getenv func(string) string) int {
	return cni.Plugin{Getenv: getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}.Run(context.Background())
}

// errPlugin: the plugin has printed what went wrong.
var errPlugin = errors.New("the plugin printed an error")

func cniCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cni",
		Short: "Be a CNI plugin, as under the name bridged-cni",
		Long: `Be a CNI plugin for one operation, as under the name bridged-cni: the CNI_ variables say which, standard input is the
configuration, standard output takes the result or the error. Container runtimes start it; docs/cni.md says how to set them up.`,
		Example: `  bridged cni
  bridged cni install --subnet 10.88.0.0/16`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			getenv := func(name string) string {
				if name == "BRIDGED_HOST" {
					return a.host
				}
				return os.Getenv(name)
			}
			if runPlugin(getenv) != 0 {
				return errPlugin
			}
			return nil
		},
	}
	cmd.AddCommand(cniInstallCommand(a))
	return cmd
}
