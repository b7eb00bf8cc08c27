package main

import "runtime/debug"

// seldom is by how many percent the heap may grow during a start before it is looked for garbage. Half of what a start allocates it keeps, so that
// each look finds little, and both processors have something better to do.
const seldom = 1000

// collectSeldom looks for garbage seldom until usually is called, which also gives the memory back that was not needed for longer. Whoever has set
// GOGC to more, or to off, keeps it.
func collectSeldom() (usually func()) {
	before := debug.SetGCPercent(seldom)
	if before < 0 || before > seldom {
		debug.SetGCPercent(before)
		return func() {}
	}
	return func() {
		debug.SetGCPercent(before)
		debug.FreeOSMemory()
	}
}
