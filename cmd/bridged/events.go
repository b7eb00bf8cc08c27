package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/bridged/bridged/client"
)

func eventsCommand(a *app) *cobra.Command {
	var opts client.EventsOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "events [--json] [--since T] [--no-follow]",
		Short: "Show what happens, as it happens",
		Long: `Show what happens to networks, sandboxes, their ports and links, and to the daemon, one line an event:

    TIME TYPE ACTION [ID] (ATTRIBUTE=VALUE, ...)

It goes on until it is interrupted or the daemon stops. With --since the events since that time come first, as far as the
daemon still has them: it keeps the last 1,000. With --no-follow these are all.`,
		Example: `  bridged events
  bridged events --since 10m
  bridged events --since 2026-01-02T15:04:05Z --no-follow
  bridged events --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.events(cmd.Context(), opts, asJSON) },
	}
	flags := cmd.Flags()
	one(flags, &opts.Since, "since", "T", parseSince, "begin at a time, as 2026-01-02T15:04:05Z, 10m (ago) or seconds since 1970")
	flags.BoolVar(&opts.Kept, "no-follow", false, "end when all is shown that the daemon has")
	flags.BoolVar(&asJSON, "json", false, "print JSON, a line an event")
	return cmd
}

func parseSince(text string) (client.Since, error) {
	since := client.Since(text)
	if _, err := since.Time(time.Now()); text == "" || err != nil {
		return "", errors.New("want a time as 2026-01-02T15:04:05Z, a duration before now as 10m, or seconds since 1970")
	}
	return since, nil
}

func (a *app) events(ctx context.Context, opts client.EventsOptions, asJSON bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	for e, err := range c.Events(ctx, opts) {
		switch {
		case err != nil:
			return err
		case asJSON:
			err = enc.Encode(e)
		default:
			_, err = fmt.Fprintln(a.stdout, eventLine(e))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eventTime is a time in as many digits each time, so that the columns stand below each other.
const eventTime = "2006-01-02T15:04:05.000000000Z07:00"

// eventLine is an event for people, in the form of docker events.
func eventLine(e client.Event) string {
	words := []string{e.Time.Local().Format(eventTime), e.Type, e.Action}
	if e.ID != "" {
		words = append(words, e.ID)
	}
	var attributes []string
	for key, value := range e.Attributes {
		attributes = append(attributes, key+"="+quoteUnclear(value))
	}
	if e.Name != "" {
		attributes = append(attributes, "name="+quoteUnclear(e.Name))
	}
	slices.Sort(attributes)
	if len(attributes) > 0 {
		words = append(words, "("+strings.Join(attributes, ", ")+")")
	}
	return strings.Join(words, " ")
}

// quoteUnclear quotes a value that would not be one word on a terminal.
func quoteUnclear(value string) string {
	unclear := func(r rune) bool {
		return !unicode.IsGraphic(r) || unicode.IsSpace(r) || strings.ContainsRune(`,()"`, r)
	}
	if value == "" || strings.ContainsFunc(value, unclear) {
		return strconv.Quote(value)
	}
	return value
}
