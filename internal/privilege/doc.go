// Package privilege says what this process, and the peer of a connection, may do.
package privilege
