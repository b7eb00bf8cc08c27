// Package failpoint names the places at which a crash is tried by the tests: between every two steps that leave something behind.
//
// In a normal build its functions are empty and inlined away: nothing reaches them from outside. With the build tag failpoints the
// environment variable BRIDGED_FAILPOINTS names a file that every pass of a point looks into, so that a running daemon can be told:
//
//	record     append the point's name to FILE.passed, a line each
//	NAME:N     kill this process with SIGKILL at the N-th pass of the point, counted from the first pass under this order
//
// Without the file nothing happens. Which points there are is read from the source: the first argument of each call is a literal.
package failpoint
