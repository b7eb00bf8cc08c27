package api

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/internal/ordered"
)

func (s *Server) ports(c *call) (any, error) {
	query := c.URL.Query()
	ref := query.Get("sandbox")
	if query.Has("sandbox") && ref == "" {
		return nil, bridged.Errorf(bridged.ErrInvalid, `query parameter "sandbox" is empty: want a sandbox's name or id`)
	}
	infos, err := s.engine.Ports(ref)
	if err != nil {
		return nil, err
	}
	ordered.Sort(infos, func(a, b bridged.PortInfo) int {
		return cmp.Or(cmp.Compare(a.SandboxName, b.SandboxName), comparePorts(a.Port, b.Port))
	})
	all := make([]client.Port, len(infos))
	for i, p := range infos {
		all[i] = wirePort(p.SandboxName, p.Port)
	}
	return all, nil
}

func (s *Server) addPorts(c *call) (any, error) {
	var in client.PortsAdd
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	specs, err := portSpecs(in.Ports)
	switch {
	case err != nil:
		return nil, err
	case len(specs) == 0:
		return nil, fieldError("Ports", "is empty: want port specifications, as in 8080:80")
	case in.Sandbox == "":
		return nil, fieldError("Sandbox", "is missing: want a sandbox's name or id")
	}
	added, warnings, err := s.engine.AddPorts(c.Context(), in.Sandbox, specs)
	if err != nil {
		return nil, err
	}
	out := client.PortsAdded{Ports: []client.Port{}, Warnings: notNil(warnings)}
	ordered.Sort(added, func(a, b bridged.PortInfo) int { return comparePorts(a.Port, b.Port) })
	for _, p := range added {
		out.Ports = append(out.Ports, wirePort(p.SandboxName, p.Port))
	}
	return out, nil
}

func (s *Server) removePorts(c *call) (any, error) {
	query := c.URL.Query()
	ref := query.Get("sandbox")
	if ref == "" {
		return nil, bridged.Errorf(bridged.ErrInvalid, `query parameter "sandbox" is missing: want a sandbox's name or id`)
	}
	specs, err := portSpecs(query["port"])
	switch {
	case err != nil:
		return nil, err
	case len(specs) == 0:
		return nil, bridged.Errorf(bridged.ErrInvalid, `query parameter "port" is missing: want port specifications, as in 8080:80`)
	}
	return nil, s.engine.RemovePorts(c.Context(), ref, specs)
}

// maxPortSpecs is how many ports one request can be about. A body could ask for billions: six bytes are a range of all ports.
const maxPortSpecs = math.MaxUint16

// portSpecs reads port specifications; a range is several.
func portSpecs(texts []string) ([]bridged.PortSpec, error) {
	var all []bridged.PortSpec
	for _, text := range texts {
		specs, err := bridged.ParsePortSpec(text)
		if err != nil {
			return nil, err
		}
		if all = append(all, specs...); len(all) > maxPortSpecs {
			return nil, bridged.Errorf(bridged.ErrInvalid, "too many ports: at most %d are possible in one request", maxPortSpecs)
		}
	}
	return all, nil
}

func wirePort(sandbox string, p bridged.Port) client.Port {
	return client.Port{Sandbox: sandbox, Port: containerPort(p), HostIP: p.Binding.HostIP.String(), HostPort: strconv.Itoa(int(p.Binding.HostPort))}
}

// containerPort is as in "80/tcp".
func containerPort(p bridged.Port) string {
	return strconv.Itoa(int(p.ContainerPort)) + "/" + p.Binding.Proto.String()
}

// sortedPorts are the ports in the order of comparePorts.
func sortedPorts(ports []bridged.Port) []bridged.Port {
	return ordered.Sorted(slices.Values(ports), comparePorts)
}

// comparePorts orders by what is published, then by where: container port, protocol, IPv4 before IPv6, host port.
func comparePorts(a, b bridged.Port) int {
	return cmp.Or(
		cmp.Compare(a.ContainerPort, b.ContainerPort),
		cmp.Compare(a.Binding.Proto, b.Binding.Proto),
		a.Binding.HostIP.Compare(b.Binding.HostIP),
		cmp.Compare(a.Binding.HostPort, b.Binding.HostPort),
	)
}
