// Package ipam chooses addresses: a [Pool] gives out the addresses of one subnet, [Choose] finds a subnet that is free.
//
// The package is pure: it asks no kernel and keeps no file. What is taken comes in as prefixes and as [Pool.Claim].
//
// A Pool prefers addresses that were never given out, lowest first, and then the one that has been free longest: whoever
// still talks to a removed sandbox's address should find nobody there for as long as possible.
package ipam
