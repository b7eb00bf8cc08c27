package addr

import "errors"

// Conn is an rtnetlink socket. It is safe for concurrent use: calls run one after the other.
//
// Errors wrap the kernel's errno, for [errors.Is] with unix.EEXIST and the like, and carry its extended acknowledgement.
type Conn struct {
}

// Dial opens a Conn in the calling thread's network namespace; the Conn stays there, whoever uses it.
func Dial() (*Conn, error) { return nil, errors.ErrUnsupported }

// Close closes the socket.
func (c *Conn) Close() error { return errors.ErrUnsupported }

// Addresses lists the addresses of all links.
func (c *Conn) Addresses() ([]Address, error) { return nil, errors.ErrUnsupported }

// Routes lists the routes of both families in all tables and of all types.
func (c *Conn) Routes() ([]Route, error) { return nil, errors.ErrUnsupported }

// Add adds an address: unix.EEXIST when it is there, unix.ENODEV when the link is not.
func (c *Conn) Add(a Address) error { return errors.ErrUnsupported }

// Delete deletes an address: unix.EADDRNOTAVAIL when it is not there.
func (c *Conn) Delete(a Address) error { return errors.ErrUnsupported }

// AddRoute adds a route: unix.EEXIST when it is there.
func (c *Conn) AddRoute(r Route) error { return errors.ErrUnsupported }

// DeleteRoute deletes a route: unix.ESRCH when it is not there.
func (c *Conn) DeleteRoute(r Route) error { return errors.ErrUnsupported }
