package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged"
)

// errDiffers: the command ran, and what it looked for is there. Nothing is printed for it.
var errDiffers = errors.New("differences found")

// exitStatus is the status for an error: that of its kind, and of several that of the first.
func exitStatus(err error) int {
	var several failures
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errDiffers):
		return 10
	case errors.As(err, &several):
		return exitStatus(several[0])
	}
	switch bridged.Code(err) {
	case "invalid":
		return 2
	case "not-found":
		return 3
	case "conflict":
		return 4
	case "denied":
		return 5
	case "unavailable":
		return 69 // EX_UNAVAILABLE of sysexits.h
	}
	return 1
}

// usageError is a command line that can't be: a wrong flag, too many arguments.
type usageError struct {
	command *cobra.Command
	err     error
}

func (e *usageError) Error() string   { return e.err.Error() }
func (e *usageError) Unwrap() []error { return []error{bridged.ErrInvalid, e.err} }

// failures are the errors of a command that goes on after one.
type failures []error

func (f failures) Error() string   { return errors.Join(f...).Error() }
func (f failures) Unwrap() []error { return f }

// forEach does something with each argument, and goes on after an error, unless nobody is there to do anything.
func forEach(args []string, do func(string) error) error {
	var failed failures
	for _, arg := range args {
		err := do(arg)
		if err != nil {
			failed = append(failed, err)
		}
		if errors.Is(err, bridged.ErrUnavailable) {
			break
		}
	}
	if failed == nil {
		return nil
	}
	return failed
}

// printError prints what went wrong, a line an error, and where to read on after wrong usage.
func (a *app) printError(err error) {
	if err == nil || errors.Is(err, errDiffers) || errors.Is(err, errPlugin) {
		return
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(a.stderr, "bridged: %s\n", strings.TrimSuffix(line, "\n"))
	}
	var wrong *usageError
	if errors.As(err, &wrong) {
		fmt.Fprintf(a.stderr, "usage: %s (see %s --help)\n", wrong.command.UseLine(), wrong.command.CommandPath())
	}
}

// warn prints warnings, a line each.
func (a *app) warn(warnings ...string) {
	for _, w := range warnings {
		for line := range strings.Lines(w) {
			fmt.Fprintf(a.stderr, "bridged: warning: %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
}
