package apitest

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/bridged/bridged"
)

// Sandboxes are all sandboxes.
func (e *Engine) Sandboxes() []bridged.SandboxInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []bridged.SandboxInfo
	for _, s := range sorted(e.sandboxes) {
		all = append(all, e.sandboxInfo(s))
	}
	return all
}

// Sandbox is one.
func (e *Engine) Sandbox(ref string) (bridged.SandboxInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id, err := e.findSandbox(ref)
	if err != nil {
		return bridged.SandboxInfo{}, err
	}
	return e.sandboxInfo(e.sandboxes[id]), nil
}

func (e *Engine) sandboxInfo(s bridged.Sandbox) bridged.SandboxInfo {
	info := bridged.SandboxInfo{Sandbox: s}
	for _, ep := range sorted(e.endpoints) {
		if ep.Sandbox == s.ID {
			info.Joined = append(info.Joined, bridged.Joined{Endpoint: ep, Network: e.networks[ep.Network]})
		}
	}
	slices.SortFunc(info.Joined, func(a, b bridged.Joined) int { return a.Endpoint.Created.Compare(b.Endpoint.Created) })
	for _, p := range e.ports {
		if p.Sandbox == s.ID {
			info.Ports = append(info.Ports, p)
		}
	}
	info.Links = e.linkInfos(s.ID)
	return info
}

// CreateSandbox records a sandbox; its namespace need not exist.
func (e *Engine) CreateSandbox(_ context.Context, spec bridged.SandboxSpec) (bridged.SandboxInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var none bridged.SandboxInfo
	if e.fail != nil {
		return none, e.fail
	}
	for _, s := range e.sandboxes {
		if s.Name == spec.Name {
			return none, bridged.Errorf(bridged.ErrConflict, "sandbox with name %s already exists", spec.Name)
		}
	}
	s := bridged.Sandbox{
		ID: e.newID(), Name: spec.Name, Created: start, Mode: bridged.ModeBridge, NetNS: spec.NetNS, Made: spec.NetNS == "",
		Settled: true,
	}
	if s.NetNS == "" {
		s.NetNS = "/run/netns/" + s.Name
	}
	switch spec.Network {
	case bridged.NetworkHost:
		s.Mode, s.NetNS, s.Made = bridged.ModeHost, "", false
	case bridged.NetworkNone:
		s.Mode = bridged.ModeNone
	default:
		if spec.Network == "" {
			spec.Network = bridged.NetworkBridge
		}
		id, err := e.findNetwork(spec.Network)
		if err != nil {
			return none, err
		}
		ep := e.newEndpoint(e.networks[id], s, spec)
		e.endpoints[ep.ID] = ep
	}
	e.sandboxes[s.ID] = s
	if _, err := e.publish(s, spec.Ports); err != nil {
		e.forget(s.ID)
		return none, err
	}
	e.happen(bridged.Event{Type: bridged.EventSandbox, Action: "create", ID: s.ID, Name: s.Name,
		Attributes: map[string]string{"mode": string(s.Mode), "netns": s.NetNS}})
	info := e.sandboxInfo(s)
	info.Warnings = e.warnings
	return info, nil
}

func (e *Engine) newEndpoint(n bridged.Network, s bridged.Sandbox, spec bridged.SandboxSpec) bridged.Endpoint {
	id := e.newID()
	ep := bridged.Endpoint{
		ID: id, Network: n.ID, Sandbox: s.ID, Created: start.Add(time.Duration(e.made)), Interface: "eth0", HostInterface: bridged.PortPrefix + id[:12], MAC: spec.MAC,
	}
	ep.IPv4 = e.address(n.IPv4, spec.IPv4)
	ep.IPv6 = e.address(n.IPv6, spec.IPv6)
	if a := ep.IPv4.Addr(); a.IsValid() && ep.MAC == (bridged.MAC{}) {
		b := a.As4()
		ep.MAC = bridged.MAC{0x02, 0x42, b[0], b[1], b[2], b[3]}
	}
	return ep
}

// address is the asked one, else the lowest free one of the subnet, with its prefix length.
func (e *Engine) address(s bridged.Subnet, asked netip.Addr) netip.Prefix {
	if !s.Valid() {
		return netip.Prefix{}
	}
	if asked.IsValid() {
		return netip.PrefixFrom(asked, s.Prefix.Bits())
	}
	used := map[netip.Addr]bool{s.Gateway: true}
	for _, ep := range e.endpoints {
		used[ep.IPv4.Addr()], used[ep.IPv6.Addr()] = true, true
	}
	a := s.Prefix.Addr().Next()
	for used[a] {
		a = a.Next()
	}
	return netip.PrefixFrom(a, s.Prefix.Bits())
}

// RemoveSandbox forgets a sandbox and all that it had.
func (e *Engine) RemoveSandbox(_ context.Context, ref string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	id, err := e.findSandbox(ref)
	if err != nil {
		return err
	}
	name := e.sandboxes[id].Name
	e.forget(id)
	e.happen(bridged.Event{Type: bridged.EventSandbox, Action: "remove", ID: id, Name: name})
	return nil
}

func (e *Engine) forget(sandbox string) {
	delete(e.sandboxes, sandbox)
	for id, ep := range e.endpoints {
		if ep.Sandbox == sandbox {
			delete(e.endpoints, id)
		}
	}
	for b, p := range e.ports {
		if p.Sandbox == sandbox {
			delete(e.ports, b)
		}
	}
	for id := range e.links {
		if id.Parent == sandbox || id.Child == sandbox {
			delete(e.links, id)
		}
	}
}
