package link

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
)

// Conn is a connection to rtnetlink. It is safe for concurrent use: calls run one after the other, and Delete, which takes long,
// beside the others.
//
// Errors name the object, wrap the kernel's errno, for [errors.Is] with unix.ENODEV and the like, and carry the kernel's
// extended acknowledgement.
type Conn struct {
	socket *rtnl.Socket
	// slow is for what waits for grace periods.
	slow *rtnl.Socket
}

// ErrUnknownOutcome: the kernel's answer was lost again and again, the request happened or it did not. List, do not assume.
var ErrUnknownOutcome = rtnl.ErrUnknownOutcome

// ErrHalfMade: something failed and what was done of it could not be taken back.
var ErrHalfMade = errors.New("what was done of it is left")

// takeBack deletes what a call made that failed with err.
func (c *Conn) takeBack(name string, err error) error {
	if e := c.Delete(name); e != nil {
		return fmt.Errorf("%w; %w: %w", err, ErrHalfMade, e)
	}
	return err
}

// slowBuffer is for a batch of Delete and its answers, in bytes.
const slowBuffer = 1 << 20

// Options are what DialWith can be told. The zero value is good.
type Options = rtnl.Options

// Dial opens a Conn in the calling thread's network namespace; the Conn stays there, whoever uses it. It costs some
// microseconds.
func Dial() (*Conn, error) { return DialWith(Options{}) }

// DialWith is Dial with options.
func DialWith(o Options) (*Conn, error) {
	socket, err := o.Dial()
	if err != nil {
		return nil, err
	}
	slow, err := o.Dial()
	if err != nil {
		socket.Close()
		return nil, err
	}
	slow.GrowBuffers(slowBuffer)
	return &Conn{socket, slow}, nil
}

// DialBriefly is DialWith for a Conn that is closed again soon: it has one socket for everything, Delete too.
func DialBriefly(o Options) (*Conn, error) {
	socket, err := o.Dial()
	if err != nil {
		return nil, err
	}
	return &Conn{socket, socket}, nil
}

// Close closes the Conn.
func (c *Conn) Close() error { return errors.Join(c.socket.Close(), c.slow.Close()) }

// do runs a batch and returns its first failure.
func (c *Conn) do(b *rtnl.Batch) error {
	failed, err := c.socket.Do(b, nil)
	if err == nil && len(failed) > 0 {
		err = failed[0].Err
	}
	return err
}

// checkName says whether name can be an interface's name at all, since the kernel's own answer names neither it nor the
// limit.
func checkName(name string) error {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return fmt.Errorf("the interface name %q has %d bytes, 1 to %d are possible: %w", name, len(name), unix.IFNAMSIZ-1, unix.EINVAL)
	}
	return nil
}

// checkAlias says whether text can be a link's alias. The kernel's own answer is ERANGE, without a reason.
func checkAlias(text string) error {
	if len(text) > MaxAlias {
		return fmt.Errorf("the alias %.20q… has %d bytes, at most %d are possible: %w", text, len(text), MaxAlias, unix.EINVAL)
	}
	return nil
}

// checkMTU says whether mtu, in bytes, can be that of a bridge or a veth pair: ETH_MIN_MTU and ETH_MAX_MTU (linux/if_ether.h), or 0
// for the default. The kernel's own answer does not mention it.
func checkMTU(mtu int) error {
	if mtu != 0 && (mtu < 68 || mtu > 65535) {
		return fmt.Errorf("the MTU is %d, 68 to 65535 are possible: %w", mtu, unix.EINVAL)
	}
	return nil
}
