// Package cni is bridged as a plugin of the Container Network Interface, versions 0.3.1 to 1.1.0: a process that a container runtime
// starts for each operation, and that makes one call to the daemon. One entry of a configuration list does what the reference plugins
// bridge, host-local, portmap, firewall, tuning and bandwidth do together.
//
//	environment ─► Environment ─┐
//	standard input ─► Config ───┴─► bridged.AttachmentSpec ─► client ─► bridged.Attachment ─► Result ─► standard output
//
// [Plugin.Run] is the whole of it. What can't be done is an [Error] on standard output, with a code of the specification and a message that names
// the key. The package knows nothing of the kernel and imports neither the engine nor anything below it: the process is there for a
// millisecond.
//
// The specification is https://www.cni.dev/docs/spec/; docs/cni.md has every key.
package cni
