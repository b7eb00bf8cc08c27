package serve

import "net"

// PeerGroups are the supplementary groups of a connection's peer.
func PeerGroups(conn net.Conn) ([]uint32, error) {
	p := peerOf(conn)
	return p.groups, p.err
}

// MayChange asks for a connection's peer, as a request of it would be.
func MayChange(conn net.Conn, group string) error { return peerOf(conn).MayChange(group) }
