// Package test holds the end-to-end tests: the real binary, real processes and real packets.
//
// Each test makes a small world of network namespaces and takes it away again; the machine's own namespace is never
// touched.
//
//	lan  ──────── host ──────── far          lan: a neighbour on the LAN; far: another host behind this one
//	192.0.2.2      │  198.51.100.2
//	               ├─ docker0 ── c1, c2 …    sandboxes, made by the commands of package cmd/bridged
//	               └─ bd…     ── c3 …
//
// The host has a mount namespace of its own too, with a private /run and /sys: what is named /run/netns and
// /run/bridged there is nobody else's. The daemon runs there with an empty PATH.
//
// A flow that must work is a real connection, answered by a server that says who it is and which source it saw. A flow
// that must not work is proven lost without waiting for a timeout: an observer at its destination must not have seen it
// when a permitted packet that was sent later, over the same path and on the same CPU, has arrived.
package test
