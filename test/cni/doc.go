// Package cni holds the tests of the CNI plugin as runtimes use it: the real plugin and daemon, driven by cnitool and by containerd, beside the
// reference plugins with the same configuration.
//
//	lan ──────── host ── cni0 ── p1, p2 …      lan: a neighbour, 192.0.2.2; the pods are namespaces that the test makes, as a runtime would
//
// Each host has mounts of its own: /run, /var/lib and, where a runtime insists on it, /etc are nobody else's. Two hosts that get the same
// configuration, one with the daemon and one with the reference plugins, must come to the same results.
package cni
