package docker

import "encoding/json"

// The shapes of Docker's plugin protocol, with its names. Fields that are not here mean nothing to us: a later engine may have more.

// none is the body of a call without parameters, and of an answer that says nothing but that it is done.
type none struct{}

// implements is the answer to Plugin.Activate.
type implements struct{ Implements []string }

type networkCapabilities struct {
	Scope, ConnectivityScope string
	// GwAllocChecker: GwAllocCheck is asked before a network is made.
	GwAllocChecker bool
}

type ipamCapabilities struct{ RequiresMACAddress, RequiresRequestReplay bool }

type addressSpaces struct{ LocalDefaultAddressSpace, GlobalDefaultAddressSpace string }

// options are what Docker and its user say about a network or an endpoint: keys of Docker's own, each with a shape of its own.
type options map[string]json.RawMessage

type gwAllocCheck struct{ Options options }

type gwAllocChecked struct{ SkipIPv4, SkipIPv6 bool }

type networkCreate struct {
	NetworkID          string
	Options            options
	IPv4Data, IPv6Data []ipamData
}

// ipamData is a subnet. Addresses have its prefix length, as in 172.28.0.1/16.
type ipamData struct {
	AddressSpace, Pool, Gateway string
	AuxAddresses                map[string]string
}

type networkDelete struct{ NetworkID string }

// endpointRef names an endpoint.
type endpointRef struct{ NetworkID, EndpointID string }

type endpointCreate struct {
	endpointRef
	Interface *endpointInterface
	Options   options
}

type endpointCreated struct{ Interface endpointInterface }

// endpointInterface: in an answer, what the request left empty. Addresses have their subnet's prefix length.
type endpointInterface struct {
	Address     string `json:",omitempty"`
	AddressIPv6 string `json:",omitempty"`
	MacAddress  string `json:",omitempty"`
}

type endpointInfo struct{ Value map[string]string }

type join struct {
	endpointRef
	SandboxKey string
	Options    options
}

type joined struct {
	InterfaceName        interfaceName
	Gateway, GatewayIPv6 string
	StaticRoutes         []struct{}
	// DisableGatewayService: the container needs no further network for its way to the world.
	DisableGatewayService bool
}

// interfaceName: SrcName is in the engine's namespace; inside, it becomes DstPrefix with a number.
type interfaceName struct{ SrcName, DstPrefix string }

type externalConnectivity struct {
	endpointRef
	Options options
}

type discovery struct{ DiscoveryType int }

type poolRequest struct {
	AddressSpace, Pool, SubPool string
	Options                     map[string]string
	V6                          bool
}

type poolReserved struct {
	PoolID, Pool string
	Data         map[string]string
}

type poolRelease struct{ PoolID string }

type addressRequest struct {
	PoolID, Address string
	Options         map[string]string
}

type addressReserved struct {
	Address string
	Data    map[string]string
}

type addressRelease struct{ PoolID, Address string }

// portBinding is one port of `docker run -p`: HostPort to HostPortEnd are those of the host to choose one of; 0: any.
type portBinding struct {
	Proto                 uint8 // the IP protocol number
	IP                    string
	Port                  uint16
	HostIP                string
	HostPort, HostPortEnd uint16
}

// transportPort is a port that a container exposes. Exposing opens nothing.
type transportPort struct {
	Proto uint8
	Port  uint16
}
