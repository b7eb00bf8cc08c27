package link

import (
	"errors"

	"github.com/bridged/bridged/addr"
)

// Conn is a connection to rtnetlink. It is safe for concurrent use.
//
// Errors wrap the kernel's errno, for [errors.Is] with unix.ENODEV and the like, and carry its extended acknowledgement.
type Conn struct{}

// Dial opens a Conn in the calling thread's network namespace; the Conn stays there, whoever uses it.
func Dial() (*Conn, error) { return nil, errors.ErrUnsupported }

// Close closes the Conn.
func (c *Conn) Close() error { return errors.ErrUnsupported }

// List is all links of the namespace.
func (c *Conn) List() ([]Link, error) { return nil, errors.ErrUnsupported }

// ByName is one link: unix.ENODEV when it is not there.
func (c *Conn) ByName(name string) (Link, error) { return Link{}, errors.ErrUnsupported }

// CreateBridge creates a bridge, down: unix.EEXIST when the name is taken.
func (c *Conn) CreateBridge(b Bridge) (Link, error) { return Link{}, errors.ErrUnsupported }

// SetUp brings a link up.
func (c *Conn) SetUp(index int) error { return errors.ErrUnsupported }

// SetDown takes a link down.
func (c *Conn) SetDown(index int) error { return errors.ErrUnsupported }

// SetMTU sets a link's MTU, in bytes.
func (c *Conn) SetMTU(index, mtu int) error { return errors.ErrUnsupported }

// SetMAC sets a link's MAC.
func (c *Conn) SetMAC(index int, mac addr.MAC) error { return errors.ErrUnsupported }

// SetMaster makes a link a port of a bridge, with the settings that CreatePair gives; bridge 0: of none.
func (c *Conn) SetMaster(index, bridge int) error { return errors.ErrUnsupported }

// SetIsolated sets whether a bridge's port reaches other isolated ones.
func (c *Conn) SetIsolated(index int, on bool) error { return errors.ErrUnsupported }

// CreatePair creates the pair with the inner end, down, in the namespace that nsfd is open on, and returns the ends' indexes.
func (c *Conn) CreatePair(p Pair, nsfd int) (host, inner int, err error) {
	return 0, 0, errors.ErrUnsupported
}

// Configure sets up the inner end of a pair, on a Conn in its namespace.
func (c *Conn) Configure(in Inner) error { return errors.ErrUnsupported }

// Delete deletes links; names that are gone are no error.
func (c *Conn) Delete(names ...string) error { return errors.ErrUnsupported }
