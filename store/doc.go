// Package store keeps a [bridged.State] on disk: networks in the state directory, one file each, and what can't outlive a
// boot in a log in the run directory.
package store
