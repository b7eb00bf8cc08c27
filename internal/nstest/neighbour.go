package nstest

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
)

// WatchNeighbours begins to watch the namespace's neighbours. The function that it returns waits until the kernel has learned, since
// then, that each of addrs has that MAC.
func (n NS) WatchNeighbours() (await func(mac string, addrs ...netip.Addr)) {
	n.t.Helper()
	var w *rtnl.Watcher
	n.Do(func() {
		var err error
		if w, err = rtnl.Watch(unix.RTNLGRP_NEIGH); err != nil {
			n.t.Fatal(err)
		}
	})
	return func(mac string, addrs ...netip.Addr) {
		n.t.Helper()
		missing := make(map[netip.Addr]bool)
		for _, a := range addrs {
			missing[a] = true
		}
		ctx, cancel := context.WithCancel(n.t.Context())
		defer cancel()
		err := w.Run(ctx, func(kind uint16, body []byte) {
			if who, has := neighbour(body); kind == unix.RTM_NEWNEIGH && has == mac {
				delete(missing, who)
			}
			if len(missing) == 0 {
				cancel()
			}
		}, func() {})
		if err != nil || len(missing) > 0 {
			n.t.Fatalf("neighbours %v were not learned: %v", missing, err)
		}
	}
}

// neighbour reads struct ndmsg and attributes.
func neighbour(body []byte) (who netip.Addr, mac string) {
	if len(body) < unix.SizeofNdMsg {
		return who, mac
	}
	for kind, v := range rtnl.Attributes(body[unix.SizeofNdMsg:]) {
		switch kind {
		case unix.NDA_DST:
			who, _ = netip.AddrFromSlice(v)
		case unix.NDA_LLADDR:
			mac = net.HardwareAddr(v).String()
		}
	}
	return who, mac
}
