// Package flowtest is what end-to-end tests act with: places between which packets go, servers that say who they are and whom they saw, and
// proofs that a packet arrived or never will.
//
// A flow that must work is a real connection ([Reaches]). A flow that must not work is proven lost without waiting for a timeout ([Lost]): an
// observer at its destination must not have seen it when a permitted packet that was sent later, over the same path and on the same CPU, has
// arrived ([Control]).
package flowtest
