// Package ipam chooses addresses: a [Pool] gives out the addresses of one subnet, [Choose] finds a subnet that is free.
//
// The package is pure: it asks no kernel and keeps no file. What is taken comes in as prefixes and as [Pool.Claim].
package ipam
