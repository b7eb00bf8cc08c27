// Package bridged is the vocabulary of a container network on one Linux host: networks, sandboxes, endpoints and
// published ports as plain values, the State that holds them, and the errors that every part of the program speaks.
//
// A Network is a bridge with its subnets. A Sandbox is a network stack (a network namespace). An Endpoint joins a sandbox
// to a network: a veth pair, one end a port of the bridge, the other inside. A Port publishes a container port on
// the host.
//
// The package imports the standard library only and touches nothing: package engine turns these values into kernel objects.
package bridged
