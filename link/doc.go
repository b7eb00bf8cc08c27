// Package link holds bridges and veth pairs as values: it lists, watches, creates and deletes them by rtnetlink, and attaches
// a network namespace to a bridge with two datagrams, [Conn.CreatePair] in the bridge's namespace and [Conn.Configure] in
// the other.
//
// A [Conn] works in the network namespace of the thread that dialled it.
package link
