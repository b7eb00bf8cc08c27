package api

import (
	"net"
)

// Routes are "GET /path" of all rows of the table.
func Routes() []string {
	var all []string
	for _, r := range routes() {
		all = append(all, r.method+" "+r.path)
	}
	return all
}

// PeerGroups are the supplementary groups of a connection's peer.
func PeerGroups(conn net.Conn) ([]uint32, error) {
	p := peerOf(conn)
	return p.groups, p.err
}

// MayChange asks for a connection's peer, as a request of it would be.
func MayChange(conn net.Conn) error { return peerOf(conn).mayChange() }
