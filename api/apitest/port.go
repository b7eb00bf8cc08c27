package apitest

import (
	"context"
	"net/netip"
	"slices"

	"github.com/bridged/bridged"
)

// firstChosen is the host port that is chosen first.
const firstChosen = 32768

// Ports are those of one sandbox, or of all.
func (e *Engine) Ports(ref string) ([]bridged.PortInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := ""
	if ref != "" {
		var err error
		if id, err = e.findSandbox(ref); err != nil {
			return nil, err
		}
	}
	var all []bridged.PortInfo
	for _, p := range e.ports {
		if id == "" || p.Sandbox == id {
			all = append(all, bridged.PortInfo{Port: p, SandboxName: e.stackName(p.Sandbox)})
		}
	}
	return all, nil
}

// AddPorts publishes ports: all or none.
func (e *Engine) AddPorts(_ context.Context, ref string, specs []bridged.PortSpec) (added []bridged.PortInfo, warnings []string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return nil, nil, e.fail
	}
	id, err := e.findSandbox(ref)
	if err != nil {
		return nil, nil, err
	}
	ports, err := e.publish(e.sandboxes[id], specs)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range ports {
		added = append(added, bridged.PortInfo{Port: p, SandboxName: e.sandboxes[id].Name})
	}
	return added, e.warnings, nil
}

func (e *Engine) publish(s bridged.Sandbox, specs []bridged.PortSpec) ([]bridged.Port, error) {
	var added []bridged.Port
	undo := func(err error) ([]bridged.Port, error) {
		for _, p := range added {
			delete(e.ports, p.Binding)
		}
		return nil, err
	}
	bound := e.bound()
	for _, spec := range specs {
		before := len(added)
		hostPort := spec.HostPort.First
		if hostPort == 0 {
			hostPort = firstChosen + uint16(len(e.ports))
		}
		for _, ep := range e.endpoints {
			if ep.Sandbox != s.ID {
				continue
			}
			for _, addr := range ep.Addrs() {
				p := bridged.Port{Sandbox: s.ID, Endpoint: ep.ID, ContainerPort: spec.ContainerPort}
				p.Binding = bridged.Binding{HostIP: spec.HostIP, Proto: spec.Proto, HostPort: hostPort}
				switch {
				case spec.HostIP.IsValid() && spec.HostIP.Is4() != addr.Is4():
					continue
				case !spec.HostIP.IsValid() && addr.Is4():
					p.Binding.HostIP = netip.IPv4Unspecified()
				case !spec.HostIP.IsValid():
					p.Binding.HostIP = netip.IPv6Unspecified()
				}
				if slices.ContainsFunc(bound[protoPort(p.Binding)], p.Binding.Overlaps) {
					return undo(bridged.Errorf(bridged.ErrConflict, "Bind for %s failed: port is already allocated",
						netip.AddrPortFrom(p.Binding.HostIP, p.Binding.HostPort)))
				}
				e.ports[p.Binding] = p
				bound[protoPort(p.Binding)] = append(bound[protoPort(p.Binding)], p.Binding)
				added = append(added, p)
			}
		}
		if len(added) == before {
			return undo(bridged.Errorf(bridged.ErrInvalid, "cannot publish %s: there is no address of its family", spec))
		}
	}
	return added, nil
}

// bound are the bindings by their port, which two that overlap have in common.
func (e *Engine) bound() map[bridged.ProtoPort][]bridged.Binding {
	all := make(map[bridged.ProtoPort][]bridged.Binding, len(e.ports))
	for b := range e.ports {
		all[protoPort(b)] = append(all[protoPort(b)], b)
	}
	return all
}

func protoPort(b bridged.Binding) bridged.ProtoPort {
	return bridged.ProtoPort{Proto: b.Proto, Port: b.HostPort}
}

// RemovePorts takes publications back: all or none.
func (e *Engine) RemovePorts(_ context.Context, ref string, specs []bridged.PortSpec) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	id, err := e.findSandbox(ref)
	if err != nil {
		return err
	}
	var gone []bridged.Binding
	for _, spec := range specs {
		before := len(gone)
		for b, p := range e.ports {
			if p.Sandbox == id && matches(spec, p) {
				gone = append(gone, b)
			}
		}
		if len(gone) == before {
			return bridged.Errorf(bridged.ErrNotFound, "sandbox %s publishes no port %s", e.sandboxes[id].Name, spec)
		}
	}
	for _, b := range gone {
		delete(e.ports, b)
	}
	return nil
}

// matches reports whether the specification, with what it leaves open, means the port.
func matches(spec bridged.PortSpec, p bridged.Port) bool {
	b := p.Binding
	return spec.ContainerPort == p.ContainerPort && spec.Proto == b.Proto &&
		(!spec.HostIP.IsValid() || spec.HostIP == b.HostIP) &&
		(spec.HostPort == bridged.PortRange{} || spec.HostPort.First <= b.HostPort && b.HostPort <= spec.HostPort.Last)
}
