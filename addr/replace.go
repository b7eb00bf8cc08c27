package addr

import (
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
)

// ReplaceRoute adds a route; one to the same destination in the same table, with the same metric, gives way to it. The
// errors are those of [Conn.AddRoute], without unix.EEXIST.
func (c *Conn) ReplaceRoute(r Route) error {
	var b rtnl.Batch
	r.AppendReplace(&b)
	return c.do(&b, "set route", r)
}

// AppendReplace adds the request of [Conn.ReplaceRoute] to a batch.
func (r Route) AppendReplace(b *rtnl.Batch) (message int) {
	return r.complete().append(b, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
}
