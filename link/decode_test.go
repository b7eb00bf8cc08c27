package link

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/rtnl"
)

// Whatever comes, decode does not panic, and keeps nothing of the buffer.
func FuzzDecode(f *testing.F) {
	var b rtnl.Batch
	b.Begin(unix.RTM_NEWLINK, 0)
	Pair{Host: "bv1", Inner: "eth0", MAC: addr.MAC{2}, MTU: 1500}.create(&b, 3, 4)
	Bridge{Name: "br0", MAC: addr.MAC{2}, MTU: 1400}.append(&b)
	for m := range rtnl.Messages(b.Datagram(1, 0)) {
		f.Add(m.Body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before, ok := decode(body)
		again := append([]byte(nil), body...)
		clear(body)
		if after, _ := decode(again); after != before {
			t.Errorf("decoded %+v and %+v (%v)", before, after, ok)
		}
	})
}
