package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// jsonFlag adds --json.
func jsonFlag(cmd *cobra.Command, target *bool) {
	cmd.Flags().BoolVar(target, "json", false, "print JSON")
}

// quietFlag adds -q.
func quietFlag(cmd *cobra.Command, target *bool) {
	cmd.Flags().BoolVarP(target, "quiet", "q", false, "print ids only")
}

// printJSON prints a value, indented as docker does.
func printJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	return enc.Encode(value)
}

// printTable prints columns, three blanks apart, none behind the last one.
func printTable(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 1, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// shortID is as much of an id as tables show.
func shortID(id string) string { return id[:min(12, len(id))] }
