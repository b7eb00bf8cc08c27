package api

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/hostcheck"
)

// Engine is what the server needs of the engine: requests and answers as values. A ref is a name, an id, or the unique
// beginning of an id. Errors carry the kinds of package bridged. It is safe for concurrent use; what it returns is the
// caller's.
type Engine interface {
	Status() bridged.Status
	// Findings are what of the host gets in the way of packets.
	Findings() []hostcheck.Finding
	// Ready is closed when the first reconcile is done. Changes are not asked for before.
	Ready() <-chan struct{}

	Networks() []bridged.NetworkInfo
	Network(ref string) (bridged.NetworkInfo, error)
	CreateNetwork(ctx context.Context, spec bridged.NetworkSpec) (n bridged.NetworkInfo, warnings []string, err error)
	RemoveNetwork(ctx context.Context, ref string) error
	// PruneNetworks removes those that are meant and that nothing is in, and returns their names.
	PruneNetworks(ctx context.Context, spec bridged.PruneSpec) ([]string, error)
	Connect(ctx context.Context, spec bridged.ConnectSpec) (bridged.Joined, error)
	// Disconnect takes a sandbox out of a network; with force also a lease, by its key or what it is called.
	Disconnect(ctx context.Context, networkRef, sandboxRef string, force bool) error

	Sandboxes() []bridged.SandboxInfo
	Sandbox(ref string) (bridged.SandboxInfo, error)
	CreateSandbox(ctx context.Context, spec bridged.SandboxSpec) (bridged.SandboxInfo, error)
	RemoveSandbox(ctx context.Context, ref string) error

	// Ports are those of one sandbox; of all for "".
	Ports(sandboxRef string) ([]bridged.PortInfo, error)
	AddPorts(ctx context.Context, sandboxRef string, specs []bridged.PortSpec) (added []bridged.PortInfo, warnings []string, err error)
	RemovePorts(ctx context.Context, sandboxRef string, specs []bridged.PortSpec) error

	// Links are those of one sandbox; of all for "".
	Links(sandboxRef string) ([]bridged.LinkInfo, error)
	AddLink(ctx context.Context, spec bridged.LinkSpec) (bridged.LinkInfo, error)
	RemoveLink(ctx context.Context, parentRef, childRef string) error

	// The four handlers. An id is the caller's key, or a sandbox's name or id.
	AllocateInterface(ctx context.Context, spec bridged.InterfaceSpec) (bridged.Joined, error)
	ReleaseInterface(ctx context.Context, id string) error
	AllocatePort(ctx context.Context, id string, spec bridged.PortSpec) ([]bridged.Port, error)
	Link(ctx context.Context, action bridged.LinkAction, parentIP, childIP netip.Addr, ports []bridged.ProtoPort) error

	// Attachments are what CNI runtimes ask for.
	Attach(ctx context.Context, spec bridged.AttachmentSpec) (bridged.Attachment, error)
	Detach(ctx context.Context, key bridged.AttachmentKey) error
	CheckAttachment(ctx context.Context, spec bridged.AttachmentSpec) error
	CollectAttachments(ctx context.Context, c bridged.AttachmentCollection) (bridged.AttachmentsCollected, error)

	// Events are what happened since that time, as far as it is kept, and then what happens until ctx is done; the zero time is now.
	// None is missed from the call on, but by a reader that is too slow, and none of the kept ones when ctx is done already.
	Events(ctx context.Context, since time.Time) iter.Seq[bridged.Event]

	// Ruleset is the packet filter in nft syntax; differs is meant for the view diff only.
	Ruleset(ctx context.Context, view bridged.RulesetView) (text string, differs bool, err error)
}
