package link

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
)

// deletions is how many links one datagram deletes.
const deletions = 256

// Delete deletes links; of a pair, both ends go. Names that are gone are no error. It goes on after an error, and refuses what is
// no virtual link (unix.EOPNOTSUPP).
//
// It waits an RCU grace period, some 10 to 20 ms, for each 256 names: call it behind the answer, with many names. They are
// moved to a link group, which then is deleted as one.
func (c *Conn) Delete(names ...string) error {
	var errs []error
	for len(names) > 0 {
		n := min(len(names), deletions)
		errs = append(errs, c.deleteSome(names[:n])...)
		names = names[n:]
	}
	return errors.Join(errs...)
}

// deleteSome deletes links with one datagram.
func (c *Conn) deleteSome(names []string) (errs []error) {
	var b rtnl.Batch
	if len(names) == 1 {
		b.Begin(unix.RTM_DELLINK, 0)
		b.Link(unix.AF_UNSPEC, 0, 0, 0)
		b.String(unix.IFLA_IFNAME, names[0])
	} else {
		for _, name := range names {
			b.Begin(unix.RTM_SETLINK, 0)
			b.Link(unix.AF_UNSPEC, 0, 0, 0)
			b.String(unix.IFLA_IFNAME, name)
			b.Uint32(unix.IFLA_GROUP, dying)
		}
		deleteDying(&b)
	}
	failed, err := c.slow.Do(&b, nil)
	if err != nil {
		return []error{fmt.Errorf("cannot delete links: %w", err)}
	}
	for _, f := range failed {
		switch {
		case errors.Is(f.Err, unix.ENODEV):
		case f.Message < len(names):
			errs = append(errs, fmt.Errorf("cannot delete link %s: %w", names[f.Message], f.Err))
		case errors.Is(f.Err, unix.EOPNOTSUPP):
			errs = append(errs, c.deleteDeletable())
		default:
			errs = append(errs, fmt.Errorf("cannot delete links: %w", f.Err))
		}
	}
	return errs
}

// deleteDying adds the message that deletes the group.
func deleteDying(b *rtnl.Batch) {
	b.Begin(unix.RTM_DELLINK, 0)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	b.Uint32(unix.IFLA_GROUP, dying)
}

// deleteDeletable is for a group with a link that can't be deleted, for which the kernel refuses all of it: such links go back to
// the default group, and are the error.
func (c *Conn) deleteDeletable() error {
	links, err := c.List()
	if err != nil {
		return err
	}
	var errs []error
	var b rtnl.Batch
	for _, l := range links {
		if l.Group == dying && l.Kind == "" {
			set(&b, l.Index)
			b.Uint32(unix.IFLA_GROUP, 0)
			errs = append(errs, fmt.Errorf("cannot delete link %s: it is no virtual link: %w", l.Name, unix.EOPNOTSUPP))
		}
	}
	deleteDying(&b)
	failed, err := c.slow.Do(&b, nil)
	for _, f := range failed {
		if !errors.Is(f.Err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("cannot delete links: %w", f.Err))
		}
	}
	return errors.Join(append(errs, err)...)
}
