package apitest

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/bridged/bridged"
)

// Attach records an attachment to a network, which it makes; the namespace need not exist.
func (e *Engine) Attach(ctx context.Context, spec bridged.AttachmentSpec) (bridged.Attachment, error) {
	n, err := e.attachable(ctx, spec)
	if err != nil {
		return bridged.Attachment{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return bridged.Attachment{}, e.fail
	}
	if _, twice := e.attachment(spec.Key); twice {
		return bridged.Attachment{}, bridged.Errorf(bridged.ErrConflict, "cannot attach %s: it is attached already", spec.Key)
	}
	s := bridged.Sandbox{ID: e.newID(), Name: spec.Key.Container, Created: start, Mode: bridged.ModeBridge, NetNS: spec.NetNS, CNI: true, Settled: true}
	if id, err := e.findSandbox(spec.Key.Container); err == nil {
		s = e.sandboxes[id]
	}
	var asked bridged.SandboxSpec
	for _, ip := range spec.IPs {
		if ip.Is4() {
			asked.IPv4 = ip
		} else {
			asked.IPv6 = ip
		}
	}
	asked.MAC = spec.MAC
	e.sandboxes[s.ID] = s
	ep := e.newEndpoint(n, s, asked)
	ep.Interface, ep.Inside, ep.Labels = spec.Key.Interface, spec.Inside, spec.Labels
	e.endpoints[ep.ID] = ep
	ports, err := e.publish(s, spec.Ports)
	if err != nil {
		e.forget(s.ID)
		return bridged.Attachment{}, err
	}
	a := bridged.Attachment{
		Key: spec.Key, Created: start, NetNS: spec.NetNS, Routes: spec.Inside.Routes, Ports: ports, Warnings: e.warnings,
		Bridge: bridged.AttachmentLink{Name: n.Bridge, MAC: n.BridgeMAC, MTU: 1500},
		Host:   bridged.AttachmentLink{Name: ep.HostInterface, MAC: bridged.MAC{0: 0xfe, 5: 1}, MTU: 1500},
		Inner:  bridged.AttachmentLink{Name: ep.Interface, MAC: ep.MAC, MTU: 1500},
	}
	for _, p := range []netip.Prefix{ep.IPv4, ep.IPv6} {
		if p.IsValid() {
			a.IPs = append(a.IPs, bridged.AttachmentIP{Address: p, Gateway: n.Subnet(p.Addr().Is6()).Gateway})
		}
	}
	return a, nil
}

// attachable is the network that the request wants, made if it is not there.
func (e *Engine) attachable(ctx context.Context, spec bridged.AttachmentSpec) (bridged.Network, error) {
	name := bridged.CNINetworkName(spec.Key.Network)
	if info, err := e.Network(name); err == nil {
		return info.Network, nil
	}
	create := bridged.NetworkSpec{Name: name, IPv6: spec.Network.IPv6.Valid(), Labels: map[string]string{bridged.LabelCNI: spec.Key.Network}}
	for _, s := range []bridged.Subnet{spec.Network.IPv4, spec.Network.IPv6} {
		if s.Valid() {
			create.Subnets = append(create.Subnets, s)
		}
	}
	info, _, err := e.CreateNetwork(ctx, create)
	return info.Network, err
}

// attachment finds an endpoint.
func (e *Engine) attachment(key bridged.AttachmentKey) (bridged.Endpoint, bool) {
	for _, ep := range e.endpoints {
		s, n := e.sandboxes[ep.Sandbox], e.networks[ep.Network]
		if s.CNI && s.Name == key.Container && ep.Interface == key.Interface && n.Labels[bridged.LabelCNI] == key.Network {
			return ep, true
		}
	}
	return bridged.Endpoint{}, false
}

// Detach forgets an attachment.
func (e *Engine) Detach(_ context.Context, key bridged.AttachmentKey) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	ep, ok := e.attachment(key)
	if !ok {
		return nil
	}
	delete(e.endpoints, ep.ID)
	if !slices.ContainsFunc(sorted(e.endpoints), func(o bridged.Endpoint) bool { return o.Sandbox == ep.Sandbox }) {
		e.forget(ep.Sandbox)
		delete(e.sandboxes, ep.Sandbox)
	}
	return nil
}

// CheckAttachment finds no fault with an attachment that is there.
func (e *Engine) CheckAttachment(_ context.Context, spec bridged.AttachmentSpec) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	if _, ok := e.attachment(spec.Key); !ok {
		return bridged.Errorf(bridged.ErrNotFound, "there is no %s", spec.Key)
	}
	return nil
}

// CollectAttachments forgets the attachments of a network that are not valid.
func (e *Engine) CollectAttachments(ctx context.Context, c bridged.AttachmentCollection) (done bridged.AttachmentsCollected, err error) {
	e.mu.Lock()
	if e.fail != nil {
		defer e.mu.Unlock()
		return done, e.fail
	}
	for _, ep := range e.endpoints {
		key := bridged.AttachmentKey{Network: c.Network, Container: e.sandboxes[ep.Sandbox].Name, Interface: ep.Interface}
		valid := slices.ContainsFunc(c.Valid, func(v bridged.AttachmentKey) bool {
			return v.Container == key.Container && v.Interface == key.Interface
		})
		if _, ours := e.attachment(key); ours && !valid {
			done.Removed = append(done.Removed, key)
		}
	}
	e.mu.Unlock()
	slices.SortFunc(done.Removed, func(a, b bridged.AttachmentKey) int {
		return strings.Compare(a.Container+a.Interface, b.Container+b.Interface)
	})
	for _, key := range done.Removed {
		if err := e.Detach(ctx, key); err != nil {
			done.Errors = append(done.Errors, err.Error())
		}
	}
	return done, nil
}
