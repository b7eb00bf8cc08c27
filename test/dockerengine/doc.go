// Package dockerengine holds the tests of the plugin with Docker's real engine: real containers on networks of ours.
//
// Each test makes a world of network namespaces as package test does, and starts an engine and the daemon on its host. The engine has the
// host's mount namespace: its data, sockets and the directory of plugins are below a private /run, and end with the test. Its PATH holds
// what is an engine's own (containerd, runc) and nothing else: there is no iptables and no nft.
//
//	lan ─── host ─┬─ bd… ── c1, c2 …     containers, made by Docker's client
//	              └─ bd… ── c3 …
//
// All processes of the tests are in a process namespace of their own, so that none outlives them, however they end.
package dockerengine
