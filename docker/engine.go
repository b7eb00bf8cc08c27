package docker

import (
	"context"
	"net/netip"

	"github.com/bridged/bridged"
)

// Engine is what the driver needs of the engine: package engine's has it. A key is that of a lease. Errors carry the kinds of package bridged. It is
// safe for concurrent use.
type Engine interface {
	// Ready is closed when the first reconcile is done. Nothing is asked for before.
	Ready() <-chan struct{}

	// FindNetwork is a network without its members, however many there are.
	FindNetwork(ref string) (bridged.Network, error)
	Network(ref string) (bridged.NetworkInfo, error)
	Networks() []bridged.NetworkInfo
	CreateNetwork(ctx context.Context, spec bridged.NetworkSpec) (n bridged.NetworkInfo, warnings []string, err error)
	RemoveNetwork(ctx context.Context, ref string) error

	// Interface is the lease of a key; peer is the first name of the other end of its link, "" when it has none.
	Interface(key string) (j bridged.Joined, peer string, ok bool)
	AllocateInterface(ctx context.Context, spec bridged.InterfaceSpec) (bridged.Joined, error)
	ReleaseInterface(ctx context.Context, key string) error
	// JoinInterface makes the link of a lease, whose other end begins in the daemon's namespace; the same while it is there.
	JoinInterface(ctx context.Context, key string) (j bridged.Joined, peer string, err error)
	// LeaveInterface takes the ports and the link of a lease back, where there are any.
	LeaveInterface(ctx context.Context, key string) error
	// SetPorts makes a lease's published ports just these, all or nothing.
	SetPorts(ctx context.Context, key string, specs []bridged.PortSpec) (ports []bridged.Port, warnings []string, err error)
	// NameInterface sets what people see instead of the key.
	NameInterface(ctx context.Context, key, name string) error

	// A pool is named by its reservation's id. The zero Addr is the next that is free.
	ReservePool(ctx context.Context, spec bridged.PoolSpec) (bridged.Reservation, error)
	ReleasePool(ctx context.Context, id string) error
	ReserveAddress(ctx context.Context, pool string, a netip.Addr) (netip.Prefix, error)
	ReleaseAddress(ctx context.Context, pool string, a netip.Addr) error
}
