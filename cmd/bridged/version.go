package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged"
)

// version is set by the linker: -X main.version=…
var version string

// programVersion is the linker's version, else what the go command recorded.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// versions is the JSON of `bridged version`.
type versions struct {
	Version   string
	GoVersion string
	Os        string
	Arch      string
	// Daemon is the version of the daemon that runs, "" without one.
	Daemon string
}

func versionCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version [--json]",
		Short: "Show the versions of this program and of the daemon",
		Long:  "Show the version of this program, and of the daemon when one is running.",
		Example: `  bridged version
  bridged version --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.version(cmd.Context(), asJSON) },
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) version(ctx context.Context, asJSON bool) error {
	v := versions{Version: programVersion(), GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH}
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	daemon, err := c.Version(ctx)
	switch {
	case err == nil:
		v.Daemon = daemon.Version
	case errors.Is(err, bridged.ErrUnavailable), errors.Is(err, bridged.ErrDenied):
	default:
		return err
	}
	if asJSON {
		return printJSON(a.stdout, v)
	}
	fmt.Fprintf(a.stdout, "bridged %s %s/%s %s\n", v.Version, v.Os, v.Arch, v.GoVersion)
	if v.Daemon != "" {
		fmt.Fprintf(a.stdout, "daemon %s\n", v.Daemon)
	}
	return nil
}
