// Package report is what a run of the benchmark found, as a value: its rows, marks and doubts. It prints them as a table, as JSON, and as
// one page of HTML with plots.
package report
