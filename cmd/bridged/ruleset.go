package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged"
)

func rulesetCommand(a *app) *cobra.Command {
	var desired, kernel, diff, asJSON bool
	cmd := &cobra.Command{
		Use:   "ruleset [--desired | --kernel | --diff] [--json]",
		Short: "Show the packet filter in nft syntax",
		Long: `Show the daemon's tables of the packet filter in nft syntax: what the kernel holds (--kernel, the default), what
should be there (--desired), or what must change to get from the one to the other (--diff; exit status 10 when it is not
empty).`,
		Example: `  bridged ruleset
  bridged ruleset --diff`,
		Args: arguments(0, 0, ""),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		view, views := bridged.RulesetKernel, 0
		for v, wanted := range map[bridged.RulesetView]bool{
			bridged.RulesetDesired: desired, bridged.RulesetKernel: kernel, bridged.RulesetDiff: diff,
		} {
			if wanted {
				view, views = v, views+1
			}
		}
		if views > 1 {
			return usage(cmd, "--desired, --kernel and --diff: give one of them")
		}
		return a.ruleset(cmd.Context(), view, asJSON)
	}
	flags := cmd.Flags()
	flags.BoolVar(&desired, "desired", false, "what should be there")
	flags.BoolVar(&kernel, "kernel", false, "what the kernel holds")
	flags.BoolVar(&diff, "diff", false, "what must change")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) ruleset(ctx context.Context, view bridged.RulesetView, asJSON bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Ruleset(ctx, view)
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(a.stdout, r)
	} else {
		_, err = fmt.Fprint(a.stdout, r.Text)
	}
	if err == nil && view == bridged.RulesetDiff && r.Differs {
		err = errDiffers
	}
	return err
}
