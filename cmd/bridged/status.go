package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged/client"
)

func statusCommand(a *app) *cobra.Command {
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [--wait DURATION] [--json]",
		Short: "Show how the daemon is",
		Long: `Show how the daemon is: ready or not, how its tables are protected, what it counts, what it warns of.

With --wait the command waits until the daemon is there and ready, at most that long; when it is not ready then, the
exit status is 1, and 69 when there is none.`,
		Example: `  bridged status --wait 10s
  bridged status --json`,
		Args: arguments(0, 0, ""),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if wait < 0 {
			return usage(cmd, "invalid argument %q for \"--wait\" flag: want a duration, as in 10s", wait)
		}
		return a.status(cmd.Context(), wait, asJSON)
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait until the daemon is ready, at most this long")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) status(ctx context.Context, wait time.Duration, asJSON bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	status, err := c.WaitReady(ctx, wait)
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(a.stdout, status)
	} else {
		err = a.printStatus(status)
	}
	if err == nil && wait > 0 && !status.Ready {
		err = fmt.Errorf("the daemon is not ready after %s", wait)
	}
	return err
}

func (a *app) printStatus(s client.Status) error {
	ready := "no"
	if s.Ready {
		ready = "since " + s.Since.Format(time.RFC3339)
	}
	rows := [][]string{
		{"Ready:", ready},
		{"Version:", s.Version},
		{"Protection:", s.Protection},
		{"ICC by:", s.ICCBy},
		{"Networks:", strconv.Itoa(s.Networks)},
		{"Sandboxes:", strconv.Itoa(s.Sandboxes)},
		{"Endpoints:", strconv.Itoa(s.Endpoints)},
		{"Ports:", strconv.Itoa(s.Ports)},
		{"Transactions:", strconv.FormatUint(s.Transactions, 10)},
		{"Repairs:", strconv.FormatUint(s.Repairs, 10)},
	}
	for _, w := range s.Warnings {
		rows = append(rows, []string{"Warning:", w})
	}
	return printTable(a.stdout, rows)
}
