package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

func sandboxExecCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec NAME -- COMMAND [ARG...]",
		Short: "Run a command in a sandbox's network namespace",
		Long: `Run a command in a sandbox's network namespace. The command takes the place of bridged: its process, its input and
output, its exit status. Everything but the network is the caller's. In a sandbox of mode host it is run as it is.`,
		Example: `  bridged sandbox exec web -- ip address
  bridged sandbox exec web -- sh -c 'cat /proc/net/dev'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(execCommand(args)) == 0 && len(args) > 0 {
				return usage(cmd, "COMMAND is missing")
			}
			return arguments(1, noMore, "NAME")(cmd, args[:min(1, len(args))])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.exec(cmd.Context(), args[0], execCommand(args))
		},
	}
	cmd.Flags().SetInterspersed(false) // what comes behind NAME is the command's
	return cmd
}

// execCommand is what stands behind NAME, and behind the two dashes.
func execCommand(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	command := args[1:]
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	return command
}

// exec returns only when it fails.
func (a *app) exec(ctx context.Context, ref string, command []string) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	sb, err := c.Sandbox(ctx, ref)
	if err != nil {
		return err
	}
	path, err := lookPath(command[0])
	if err != nil {
		return err
	}
	// A namespace is the thread's, and execve keeps that of the thread that calls it.
	runtime.LockOSThread()
	if sb.NetNS != "" {
		if err := enter(sb.NetNS); err != nil {
			return kindOf(err, "cannot enter the network namespace of sandbox %s: %w", sb.Name, err)
		}
	}
	err = syscall.Exec(path, command, os.Environ())
	return kindOf(err, "cannot run %s: %w", path, err)
}

// enter moves the calling thread to the network namespace at path.
func enter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// lookPath finds a command as a shell does: one with a slash is a path, others are looked for in the directories of PATH.
func lookPath(command string) (string, error) {
	if strings.Contains(command, "/") {
		err := executable(command)
		return command, kindOf(err, "cannot run %s: %w", command, err)
	}
	var denied error
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, command)
		switch err := executable(path); {
		case err == nil && filepath.IsAbs(path):
			return path, nil
		case errors.Is(err, fs.ErrPermission):
			denied = err
		}
	}
	if denied != nil {
		return "", kindOf(denied, "cannot run %s: %w", command, denied)
	}
	return "", bridged.Errorf(bridged.ErrNotFound, "cannot run %q: there is no such command in PATH", command)
}

// executable says why a file can't be executed.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: "exec", Path: path, Err: syscall.EISDIR}
	}
	if err := unix.Access(path, unix.X_OK); err != nil {
		return &fs.PathError{Op: "exec", Path: path, Err: err}
	}
	return nil
}

// kindOf formats an error of the kind that err, the system's, is of; nil stays nil.
func kindOf(err error, format string, args ...any) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return bridged.Errorf(bridged.ErrNotFound, format, args...)
	case errors.Is(err, fs.ErrPermission):
		return bridged.Errorf(bridged.ErrDenied, format, args...)
	}
	return fmt.Errorf(format, args...)
}
