package api

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/internal/ordered"
)

// Sandboxes are shown to Docker's client as containers, with what they have: there are no images and no processes. A sandbox runs for as long
// as there is one.
const stateRunning = "running"

// containerSummary is a line of `docker ps`.
type containerSummary struct {
	ID              string `json:"Id"`
	Names           []string
	Image           string
	ImageID         string
	Command         string
	Created         int64 // seconds since 1970
	Ports           []portSummary
	Labels          map[string]string
	State           string
	Status          string
	HostConfig      hostConfig
	NetworkSettings struct{ Networks map[string]endpointSettings }
	Mounts          []struct{}
}

// portSummary is a published port.
type portSummary struct {
	IP          string
	PrivatePort uint16
	PublicPort  uint16
	Type        string
}

// hostConfig is the part of a container's configuration that is the host's.
type hostConfig struct {
	// NetworkMode is "host", "none", "container:ID" or the name of the first network.
	NetworkMode string
}

// endpointSettings are a container's interface in a network. What there is none of is null.
type endpointSettings struct {
	IPAMConfig          *struct{}
	Links               []string
	Aliases             []string
	MacAddress          string
	DriverOpts          map[string]string
	GwPriority          int
	NetworkID           string
	EndpointID          string
	Gateway             string
	IPAddress           string
	IPPrefixLen         int
	IPv6Gateway         string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	DNSNames            []string
}

// containerInspect is what `docker inspect` shows.
type containerInspect struct {
	ID              string `json:"Id"`
	Created         time.Time
	Path            string
	Args            []string
	State           containerState
	Image           string
	Name            string // with a slash before it
	RestartCount    int
	Driver          string
	Platform        string
	HostConfig      inspectHostConfig
	Mounts          []struct{}
	Config          containerConfig
	NetworkSettings networkSettings
}

type containerState struct {
	Status     string
	Running    bool
	Paused     bool
	Restarting bool
	OOMKilled  bool
	Dead       bool
	Pid        int
	ExitCode   int
	Error      string
	StartedAt  time.Time
	FinishedAt time.Time
}

type inspectHostConfig struct {
	hostConfig
	PortBindings map[string][]client.HostPort
}

type containerConfig struct {
	Hostname     string
	ExposedPorts map[string]struct{}
	Image        string
	Labels       map[string]string
}

// networkSettings are a container's interfaces. Those beside Networks are of the network bridge, as in the times when there was no other.
type networkSettings struct {
	Bridge              string
	SandboxID           string
	SandboxKey          string // the path of the namespace
	Ports               map[string][]client.HostPort
	EndpointID          string
	Gateway             string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	IPAddress           string
	IPPrefixLen         int
	IPv6Gateway         string
	MacAddress          string
	Networks            map[string]endpointSettings
}

func (s *Server) containers(c *call) (any, error) {
	query := c.URL.Query()
	limit := 0
	if text := query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil {
			return nil, bridged.Errorf(bridged.ErrInvalid, `query parameter "limit": want a number, not %q`, text)
		}
	}
	tests, err := s.containerTests(query.Get("filters"))
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(s.dockerContainers(), func(sb bridged.SandboxInfo) bool {
		return slices.ContainsFunc(tests, func(passes containerTest) bool { return !passes(sb) })
	})
	ordered.Sort(found, func(a, b bridged.SandboxInfo) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Name, b.Name))
	})
	if limit > 0 {
		found = found[:min(limit, len(found))]
	}
	now := time.Now()
	all := make([]containerSummary, len(found))
	for i, sb := range found {
		all[i] = summary(sb, now)
	}
	return all, nil
}

func (s *Server) container(c *call) (any, error) {
	sb, err := s.dockerContainer(c.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	return inspectContainer(sb), nil
}

// dockerContainers are the sandboxes with those of their ports that lead somewhere: one that is in no network keeps its ports for the next.
func (s *Server) dockerContainers() []bridged.SandboxInfo {
	all := s.engine.Sandboxes()
	for i := range all {
		all[i].Ports = slices.DeleteFunc(all[i].Ports, leadsNowhere)
	}
	return all
}

func leadsNowhere(p bridged.Port) bool { return p.Endpoint == "" }

// dockerContainer is a sandbox; that it does not exist is said in Docker's words.
func (s *Server) dockerContainer(ref string) (bridged.SandboxInfo, error) {
	sb, err := s.engine.Sandbox(ref)
	if bridged.Code(err) == "not-found" {
		err = bridged.Errorf(bridged.ErrNotFound, "No such container: %s", ref)
	}
	return sb, err
}

func summary(sb bridged.SandboxInfo, now time.Time) containerSummary {
	out := containerSummary{
		ID: sb.ID, Names: []string{"/" + sb.Name}, Created: sb.Created.Unix(), Ports: []portSummary{}, Labels: map[string]string{},
		State: stateRunning, Status: "Up " + roughly(now.Sub(sb.Created)), HostConfig: hostConfig{networkMode(sb)}, Mounts: []struct{}{},
	}
	for _, p := range sortedPorts(sb.Ports) {
		out.Ports = append(out.Ports, portSummary{
			IP: p.Binding.HostIP.String(), PrivatePort: p.ContainerPort, PublicPort: p.Binding.HostPort, Type: p.Binding.Proto.String(),
		})
	}
	out.NetworkSettings.Networks = containerNetworks(sb)
	return out
}

func inspectContainer(sb bridged.SandboxInfo) containerInspect {
	asked := wireSandbox(sb).Ports
	sb.Ports = slices.DeleteFunc(sb.Ports, leadsNowhere)
	wire := wireSandbox(sb)
	out := containerInspect{
		ID: sb.ID, Created: sb.Created, Args: []string{}, Name: "/" + sb.Name, Platform: "linux", Mounts: []struct{}{},
		State:      containerState{Status: stateRunning, Running: true, StartedAt: sb.Created},
		HostConfig: inspectHostConfig{hostConfig{networkMode(sb)}, asked},
		Config:     containerConfig{ExposedPorts: make(map[string]struct{}), Labels: map[string]string{}},
		NetworkSettings: networkSettings{
			SandboxID: sb.Stack(), SandboxKey: sb.NetNS, Ports: wire.Ports, Networks: containerNetworks(sb),
		},
	}
	for port := range asked {
		out.Config.ExposedPorts[port] = struct{}{}
	}
	if e, ok := out.NetworkSettings.Networks[bridged.NetworkBridge]; ok {
		n := &out.NetworkSettings
		n.EndpointID, n.MacAddress = e.EndpointID, e.MacAddress
		n.IPAddress, n.IPPrefixLen, n.Gateway = e.IPAddress, e.IPPrefixLen, e.Gateway
		n.GlobalIPv6Address, n.GlobalIPv6PrefixLen, n.IPv6Gateway = e.GlobalIPv6Address, e.GlobalIPv6PrefixLen, e.IPv6Gateway
	}
	return out
}

// networkMode says in Docker's words what network stack a sandbox has.
func networkMode(sb bridged.SandboxInfo) string {
	switch {
	case sb.Mode == bridged.ModeContainer:
		return "container:" + sb.Shares
	case sb.Mode == bridged.ModeBridge && len(sb.Joined) > 0:
		return sb.Joined[0].Network.Name
	}
	return string(sb.Mode)
}

func containerNetworks(sb bridged.SandboxInfo) map[string]endpointSettings {
	all := make(map[string]endpointSettings, len(sb.Joined))
	for _, j := range sb.Joined {
		e := wireEndpoint(j)
		all[j.Network.Name] = endpointSettings{
			Aliases: j.Endpoint.Aliases, MacAddress: e.MacAddress, GwPriority: j.Endpoint.Priority, NetworkID: e.NetworkID, EndpointID: e.EndpointID,
			Gateway: e.Gateway, IPAddress: e.IPAddress, IPPrefixLen: e.IPPrefixLen,
			IPv6Gateway: e.IPv6Gateway, GlobalIPv6Address: e.GlobalIPv6Address, GlobalIPv6PrefixLen: e.GlobalIPv6PrefixLen,
		}
	}
	return all
}

// roughly says how long something has been, in words as Docker's.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return "Less than a second"
	case d < 2*time.Second:
		return "1 second"
	case d < time.Minute:
		return fmt.Sprintf("%d seconds", d/time.Second)
	case d < 2*time.Minute:
		return "About a minute"
	case d < time.Hour:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	case math.Round(d.Hours()) == 1:
		return "About an hour"
	case math.Round(d.Hours()) < 48:
		return fmt.Sprintf("%.0f hours", math.Round(d.Hours()))
	case d < 14*day:
		return fmt.Sprintf("%d days", d/day)
	case d < 60*day:
		return fmt.Sprintf("%d weeks", d/(7*day))
	case d < 730*day:
		return fmt.Sprintf("%d months", d/(30*day))
	}
	return fmt.Sprintf("%d years", d/(365*day))
}
