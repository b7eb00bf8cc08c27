package api

import (
	"net"

	"github.com/bridged/bridged/internal/serve"
)

// Group is the group whose members may use the daemon, where it exists.
const Group = "bridged"

// Listen listens on the unix socket at path, and makes its directory when there is none. The socket belongs to root and to
// Group, where that exists, from its first moment. What a dead daemon left at path is replaced; a socket on which somebody
// listens, and anything that is no socket, is ErrConflict. Closing the listener removes the socket.
func Listen(path string) (net.Listener, error) {
	return serve.Listen(path, serve.Access{Mode: 0o660, Group: Group})
}
