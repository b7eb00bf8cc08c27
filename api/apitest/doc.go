// Package apitest holds an engine in memory, for the tests of servers and commands: it answers as the real one does, and
// touches nothing.
package apitest
