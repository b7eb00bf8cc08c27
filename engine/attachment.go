package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/caller"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/internal/ordered"
	"github.com/bridged/bridged/link"
)

// A CNI runtime attaches containers to networks one interface at a time, and says everything with each. A container is a sandbox of its id,
// whose namespace is the runtime's; an attachment is an endpoint of it. The first attachment of a container makes the sandbox, the
// last one that goes takes it along; the first of a network makes the network, which stays.

// Attach makes an attachment: all of it or nothing. A namespace that is not there is [bridged.ErrNotFound]; a second attachment of that
// container and interface, and a network that differs in what can't be changed, are [bridged.ErrConflict]. One whose client has closed its connection
// before it begins, as a runtime's plugin that was killed, is not made.
func (e *Engine) Attach(ctx context.Context, spec bridged.AttachmentSpec) (bridged.Attachment, error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return bridged.Attachment{}, err
	}
	defer leave()
	a, err := e.newAttachment(spec)
	if err != nil {
		return bridged.Attachment{}, err
	}
	done, err := e.attachNew(ctx, a)
	if err != nil {
		return bridged.Attachment{}, fmt.Errorf("cannot attach %s: %w", spec.Key, err)
	}
	e.tell("container attached", "network", spec.Key.Network, "sandbox", spec.Key.Container, "interface", spec.Key.Interface, "link", done.Host.Name)
	return done, nil
}

func (e *Engine) attachNew(ctx context.Context, a attachment) (done bridged.Attachment, err error) {
	defer e.locks.lock("sandbox " + a.spec.Key.Container)()
	if caller.Gone(ctx) { // what takes the attachment back may have been here before
		return done, bridged.Errorf(bridged.ErrUnavailable, "whoever asked for it has gone")
	}
	s, err := e.container(ctx, a)
	if err != nil {
		return done, err
	}
	defer e.locks.lock("stack " + s.ID)()
	n, undo, unlock, err := e.attachableNetwork(ctx, a)
	if err != nil {
		return done, err
	}
	defer unlock()
	defer e.lockLinks(s.ID)()
	endpoint, ports, err := e.attachTo(ctx, s, n, a)
	if err != nil {
		return done, errors.Join(err, undo())
	}
	return e.attachmentOf(a.spec.Key, s, endpoint, n, ports)
}

// container is the sandbox of the request's container, or the one that it will be. The caller holds the lock of its name.
func (e *Engine) container(ctx context.Context, a attachment) (bridged.Sandbox, error) {
	path := filepath.Clean(a.spec.NetNS)
	nsid, err := e.host.namespace(path, 0)
	switch {
	case scarce(err):
		return bridged.Sandbox{}, err
	case err != nil:
		return bridged.Sandbox{}, bridged.Errorf(bridged.ErrNotFound, "there is no network namespace at %s: %v", path, err)
	case nsid == e.facts.namespace:
		return bridged.Sandbox{}, bridged.Errorf(bridged.ErrInvalid, "%s is the host's own network namespace", path)
	}
	// What just left it may still have its link in there.
	if err := e.pairs.wait(ctx, func(p pair) bool { return p.nsid == nsid }); err != nil {
		return bridged.Sandbox{}, err
	}
	s, err := e.knownContainer(a.spec.Key, path, nsid)
	if err != nil || s.Settled {
		return s, err
	}
	if s.ID != "" { // an attach that failed, and could not even be taken back
		if err := e.forgetSandbox(ctx, s); err != nil {
			return s, err
		}
	}
	return bridged.Sandbox{
		ID: containerID(a.spec.Key.Container), Name: a.spec.Key.Container, Created: time.Now().UTC(), Mode: bridged.ModeBridge, NetNS: path, NSID: nsid, CNI: true,
	}, nil
}

// containerID is the sandbox's id of a container. It follows from the runtime's own, which a label has no room for beside another one.
func containerID(container string) string {
	sum := sha256.Sum256([]byte(container))
	return hex.EncodeToString(sum[:])
}

// knownContainer is the sandbox that has the container's id; a zero ID: there is none. It refuses one that can't take the interface.
func (e *Engine) knownContainer(key bridged.AttachmentKey, path string, nsid bridged.NamespaceID) (bridged.Sandbox, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.index
	if len(x.endpoints[key.Container]) > 0 {
		return bridged.Sandbox{}, bridged.Errorf(bridged.ErrConflict, "%s is the key of a lease: release it first", key.Container)
	}
	s := x.Sandboxes[x.sandboxNames[key.Container]]
	if id, taken := x.namespaces[nsid]; taken && id != s.ID {
		return s, bridged.Errorf(bridged.ErrConflict, "namespace %s is sandbox %s already", path, x.stackName(id))
	}
	switch {
	case s.ID == "":
		return s, nil
	case !s.CNI:
		return s, bridged.Errorf(bridged.ErrConflict, "sandbox %s exists already, and is no container of a CNI runtime", s.Name)
	case s.NSID != nsid && s.Settled:
		return s, bridged.Errorf(bridged.ErrConflict, "container %s has its interfaces in another namespace, %s: detach them first", s.Name, s.NetNS)
	}
	for _, j := range x.joined(s.ID) {
		if s.Settled && j.Endpoint.Interface == key.Interface {
			return s, bridged.Errorf(bridged.ErrConflict, "container %s has an interface %s already, in network %s: detach it first", s.Name, key.Interface, cniName(j.Network))
		}
	}
	return s, nil
}

// cniName is a network's name in its CNI configuration.
func cniName(n bridged.Network) string {
	if name, ok := n.Labels[bridged.LabelCNI]; ok {
		return name
	}
	return n.Name
}

// attachTo makes the endpoint with its ports, and the sandbox with the first.
func (e *Engine) attachTo(ctx context.Context, s bridged.Sandbox, n bridged.Network, a attachment) (bridged.Endpoint, []bridged.Port, error) {
	claims, err := e.claimPorts(ctx, outletsOn(n), a.spec.Ports)
	if err != nil {
		return bridged.Endpoint{}, nil, err
	}
	failpoint.Reached("attachment's ports claimed")
	var endpoint bridged.Endpoint
	var ports map[bridged.Binding]*bridged.Port
	err = e.transactWhenFree(ctx, func(x *index) (c bridged.Change, err error) {
		if endpoint, err = e.newAttached(x, s, n, a); err != nil {
			return c, err
		}
		ports = outletsOf([]bridged.Joined{{Endpoint: endpoint, Network: n}}).publication(s.ID, claims)
		c = bridged.Change{Endpoints: map[string]*bridged.Endpoint{endpoint.ID: &endpoint}, Ports: ports}
		if !s.Settled {
			c.Sandboxes = map[string]*bridged.Sandbox{s.ID: &s}
		}
		return c, nil
	})
	if err != nil {
		e.book.free(bindingsOf(claims))
		return endpoint, nil, e.explainVanished(a, err)
	}
	e.purgeBypassing(claims)
	failpoint.Reached("attachment made")
	if !s.Settled {
		settled := s
		settled.Settled = true
		if err := e.putSandbox(ctx, settled); err != nil {
			return endpoint, nil, errors.Join(err, e.forgetSandbox(ctx, s))
		}
	}
	var published []bridged.Port
	for _, b := range bindingsOf(claims) {
		published = append(published, *ports[b])
	}
	return endpoint, published, nil
}

// explainVanished tells a namespace that went in the middle from other failures.
func (e *Engine) explainVanished(a attachment, err error) error {
	if _, gone := e.host.namespace(a.spec.NetNS, 0); gone != nil && !scarce(gone) && bridged.Code(err) != "conflict" {
		return bridged.Errorf(bridged.ErrNotFound, "its namespace %s went in the middle: %v", a.spec.NetNS, err)
	}
	return err
}

// newAttached is the endpoint that the request asks for, with its addresses.
func (e *Engine) newAttached(x *index, s bridged.Sandbox, n bridged.Network, a attachment) (bridged.Endpoint, error) {
	if err := e.lacks.refuse(n); err != nil {
		return bridged.Endpoint{}, err
	}
	asked := bridged.InterfaceSpec{ID: s.ID, MAC: a.spec.MAC}
	for _, ip := range a.spec.IPs {
		if ip.Is4() {
			asked.IPv4 = ip
		} else {
			asked.IPv6 = ip
		}
	}
	endpoint, err := x.newEndpoint(n, asked)
	if err != nil {
		return endpoint, err
	}
	given := a.endpoint
	given.ID, given.Network, given.Sandbox, given.Created = endpoint.ID, endpoint.Network, endpoint.Sandbox, endpoint.Created
	given.MAC, given.IPv4, given.IPv6, given.MTU = endpoint.MAC, endpoint.IPv4, endpoint.IPv6, n.MTU
	given.HostInterface = bridged.NewLinkName(bridged.PortPrefix)
	given.Inside.Routes = slices.Concat(given.Inside.Routes, defaultRoutes(a.spec, n))
	return given, nil
}

// attached sets on the inner end what an attachment has of its own.
func attached(inner *link.Inner, n bridged.Network, e bridged.Endpoint) {
	in := e.Inside
	inner.MTU, inner.Promisc, inner.DAD, inner.Down = in.MTU, in.Promisc, in.DAD, in.Down
	// What has no address of ours may get some from others.
	inner.IPv6 = inner.IPv6 || len(e.Addrs()) == 0
	for _, r := range in.Routes {
		gateway := r.Gateway
		if !gateway.IsValid() {
			gateway = n.Subnet(r.Dst.Addr().Is6()).Gateway
		}
		inner.Routes = append(inner.Routes, addr.Route{
			Dst: r.Dst, Gateway: gateway, MTU: r.MTU, Priority: r.Priority, Table: r.Table,
			Protocol: unix.RTPROT_BOOT, // they are the container's: not the mark of those that a start looks after
		})
	}
}

// attachmentOf is what became of a request.
func (e *Engine) attachmentOf(key bridged.AttachmentKey, s bridged.Sandbox, ep bridged.Endpoint, n bridged.Network, ports []bridged.Port) (bridged.Attachment, error) {
	e.mu.Lock()
	mtu := e.compiler().mtu(n)
	e.mu.Unlock()
	a := bridged.Attachment{
		Key: key, Created: ep.Created, NetNS: s.NetNS, Ports: ports, Routes: ep.Inside.Routes,
		Bridge: bridged.AttachmentLink{Name: n.Bridge, MAC: n.BridgeMAC, MTU: mtu},
		Host:   bridged.AttachmentLink{Name: ep.HostInterface, MAC: bridged.MAC(hostMAC(ep)), MTU: ep.MTU},
		Inner:  bridged.AttachmentLink{Name: ep.Interface, MAC: ep.MAC, MTU: ep.MTU},
	}
	if s := shapingOf(ep); s.Shaper != "" {
		a.Shaper = bridged.AttachmentLink{Name: s.Shaper, MAC: bridged.MAC(s.MAC), MTU: ep.MTU}
	}
	if ep.Inside.MTU != 0 {
		a.Inner.MTU = ep.Inside.MTU
	}
	if ep.IPv4.IsValid() {
		a.IPs = append(a.IPs, bridged.AttachmentIP{Address: ep.IPv4, Gateway: n.IPv4.Gateway})
	}
	if ep.IPv6.IsValid() {
		a.IPs = append(a.IPs, bridged.AttachmentIP{Address: ep.IPv6, Gateway: n.IPv6.Gateway})
	}
	return a, nil
}

// Detach takes an attachment away, whether its namespace is there or not; the last one of a container takes its sandbox along. One that is
// not there is no error.
func (e *Engine) Detach(ctx context.Context, key bridged.AttachmentKey) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := checkAttachmentKey(key); err != nil {
		return err
	}
	return e.detachOne(ctx, key)
}

func (e *Engine) detachOne(ctx context.Context, key bridged.AttachmentKey) error {
	defer e.locks.lock("sandbox " + key.Container)()
	e.mu.Lock()
	s, endpoint, ok := e.index.attachment(key)
	last := len(e.index.endpoints[s.ID]) == 1
	e.mu.Unlock()
	if !ok {
		return nil
	}
	defer e.locks.lock("stack " + s.ID)()
	defer e.lockNetworksOf(s.ID)()
	var err error
	if last {
		err = e.forgetSandbox(ctx, s)
	} else {
		err = e.leaveOne(ctx, s, endpoint)
	}
	if err != nil {
		return fmt.Errorf("cannot detach %s: %w", key, err)
	}
	e.tell("container detached", "network", key.Network, "sandbox", key.Container, "interface", key.Interface)
	return nil
}

// attachment finds one.
func (x *index) attachment(key bridged.AttachmentKey) (bridged.Sandbox, bridged.Endpoint, bool) {
	s := x.Sandboxes[x.sandboxNames[key.Container]]
	if !s.CNI {
		return s, bridged.Endpoint{}, false
	}
	for _, id := range x.endpoints[s.ID] {
		if ep := x.Endpoints[id]; ep.Interface == key.Interface && cniName(x.Networks[ep.Network]) == key.Network {
			return s, ep, true
		}
	}
	return s, bridged.Endpoint{}, false
}

// leaveOne takes one of several attachments of a container away, with its ports.
func (e *Engine) leaveOne(ctx context.Context, s bridged.Sandbox, endpoint bridged.Endpoint) error {
	defer e.lockLinks(s.ID)()
	gone := []bridged.Endpoint{endpoint}
	var ports []bridged.Port
	err := e.transact(ctx, func(x *index) (bridged.Change, error) {
		c := bridged.Change{Endpoints: map[string]*bridged.Endpoint{endpoint.ID: nil}, Ports: make(map[bridged.Binding]*bridged.Port)}
		for b := range x.ports[s.ID] {
			if p := x.Ports[b]; p.Endpoint == endpoint.ID {
				c.Ports[b] = nil
				ports = append(ports, p)
			}
		}
		x.keepAddrs(gone)
		return c, nil
	})
	if err != nil {
		e.staying(gone)
		return err
	}
	e.drainPorts(ports)
	e.drainEndpoints(gone)
	return nil
}

// CollectAttachments takes all attachments of a network away that are not valid, and returns them. It goes on after an error.
func (e *Engine) CollectAttachments(ctx context.Context, c bridged.AttachmentCollection) (bridged.AttachmentsCollected, error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return bridged.AttachmentsCollected{}, err
	}
	defer leave()
	if err := bridged.CheckName("network", c.Network); err != nil {
		return bridged.AttachmentsCollected{}, err
	}
	valid := make(map[bridged.AttachmentKey]bool, len(c.Valid))
	for _, key := range c.Valid {
		key.Network = c.Network
		valid[key] = true
	}
	var done bridged.AttachmentsCollected
	for _, key := range e.attachmentsOf(c.Network) {
		if valid[key] {
			continue
		}
		if err := e.detachOne(ctx, key); err != nil {
			done.Errors = append(done.Errors, err.Error())
			continue
		}
		done.Removed = append(done.Removed, key)
	}
	return done, nil
}

// attachmentsOf are those of a network, by its name in the CNI configuration.
func (e *Engine) attachmentsOf(network string) (keys []bridged.AttachmentKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := e.index.networkNames[bridged.CNINetworkName(network)]
	if e.index.Networks[id].Labels[bridged.LabelCNI] != network {
		return nil
	}
	for member := range e.index.members[id] {
		ep := e.index.Endpoints[member]
		if s := e.index.Sandboxes[ep.Sandbox]; s.CNI {
			keys = append(keys, bridged.AttachmentKey{Network: network, Container: s.Name, Interface: ep.Interface})
		}
	}
	ordered.Sort(keys, func(a, b bridged.AttachmentKey) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Interface, b.Interface))
	})
	return keys
}

// ethernetHeader is ETH_HLEN (linux/if_ether.h), in bytes.
const ethernetHeader = 14

// shapingOf is what limits an attachment. A burst that has no room for a whole frame would let none pass.
func shapingOf(e bridged.Endpoint) (s link.Shaping) {
	rate := func(r bridged.Rate) link.Rate {
		if r == (bridged.Rate{}) {
			return link.Rate{}
		}
		return link.Rate{Bytes: r.Rate / 8, Burst: max(uint32(r.Burst/8), uint32(e.MTU+ethernetHeader))}
	}
	s.ToInner, s.FromInner = rate(e.Bandwidth.Ingress), rate(e.Bandwidth.Egress)
	if s.FromInner != (link.Rate{}) {
		s.Shaper = bridged.ShaperPrefix + strings.TrimPrefix(e.HostInterface, bridged.PortPrefix)
		s.MAC = hostMAC(e)
		s.MAC[0] = 0xfa // unicast, locally administered, and not the host end's
	}
	return s
}
