// Package engine makes the State true on a host.
//
// There is one path, for start, change, repair and roll-back:
//
//	request ─► Change ─► State ─► compile ─► objects wanted ─┐
//	                     (index)                             ├─ diff ─► Plan ─► kernel, step by step
//	           kernel ─► observe, or compile before ─► have ─┘
//
// A request becomes a [bridged.Change]. The objects that it touches are compiled before it and after it (objects.go); the
// difference is a Plan (plan.go), with one nf_tables transaction in it. At the start and when in doubt the whole state is compiled, and what there is
// is observed instead (start.go). What the kernel refuses is forgotten by changing the objects back: the same path again.
//
// Callers that run containers themselves, as Docker's engine does, have leases instead of sandboxes: addresses (handler.go), with a link whose other
// end is theirs (lease.go) and published ports (setports.go), and subnets that are reserved before there is a network (reservation.go).
//
// A start fits the program to the kernel (lacks.go): docs/kernels.md says what is needed, and what is done without the rest.
//
// What a CNI runtime asks for (attachment.go) is the same in one call: a network that the first attachment makes, a sandbox that goes with the last, and
// an endpoint that says itself which routes, ports, sysctls and bandwidth it has.
//
// The engine's own lock guards memory only. Work in the kernel goes on under the lock of its object (locks.go); what nobody waits
// for is done in batches behind the answer (batch.go). Requests that take microseconds have turns, in the order in which they came (turns.go). Which
// host ports are taken is in a book with a lock of its own (book.go).
package engine
