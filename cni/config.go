package cni

import (
	"encoding/json"

	"github.com/bridged/bridged"
)

// Config is an entry of a configuration list, with what the runtime adds to it. The zero Config of each field is the reference
// plugins' default, but for those that [ParseConfig] sets.
type Config struct {
	Version Version
	Name    string // the network's
	// Socket is the path of the daemon's socket; "": BRIDGED_HOST, or the default.
	Socket string

	// Of the plugin bridge.
	Bridge                    string
	MTU                       int
	IsGateway                 bool
	IsDefaultGateway          bool // and IsGateway
	ForceAddress              bool
	IPMasq                    bool
	HairpinMode               bool
	PromiscMode               bool
	MACSpoofCheck             bool
	PortIsolation             bool
	EnableDAD                 bool
	DisableContainerInterface bool

	// Of the plugin portmap.
	SNAT         bool
	ConditionsV4 []string
	ConditionsV6 []string
	// Of the plugin firewall.
	IngressPolicy bridged.IngressPolicy
	// Of the plugin tuning.
	Sysctl  map[string]string
	MAC     mac
	Promisc bool
	// Of the plugin bandwidth.
	bandwidth

	Capabilities  map[string]bool
	IPAM          *ipam // nil: no addresses
	DNS           DNS
	RuntimeConfig runtimeConfig
	Args          args

	PrevResult json.RawMessage
	// Valid are the attachments that a GC keeps.
	Valid []validAttachment
}

// validAttachment is one of cni.dev/valid-attachments.
type validAttachment struct {
	ContainerID string `json:"containerID"`
	Interface   string `json:"ifname"`
}

// bandwidth limits a container, in bits a second and bits.
type bandwidth struct {
	IngressRate  uint64 `json:"ingressRate"`
	IngressBurst uint64 `json:"ingressBurst"`
	EgressRate   uint64 `json:"egressRate"`
	EgressBurst  uint64 `json:"egressBurst"`
}

// runtimeConfig is what the runtime asks for this container, by capability.
type runtimeConfig struct {
	Ports     []portMapping
	Bandwidth *bandwidth
	DNS       runtimeDNS
	IPs       []address
	MAC       mac
	Ranges    list[rangeSet, *rangeSet]
	Aliases   []string
	Pod       map[string]string // its annotations, of which nothing is used
}

// portMapping is a port to publish.
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

// runtimeDNS is the resolver as runtimes name its parts.
type runtimeDNS struct {
	Servers  []string `json:"servers"`
	Searches []string `json:"searches"`
	Options  []string `json:"options"`
}

// args is what the configuration's author asks for the container.
type args struct{ CNI cniArgs }

type cniArgs struct {
	IPs     []address
	MAC     mac
	MTU     int
	Promisc *bool
	Sysctl  map[string]string
}

// defaultBridge is the name that the reference plugin gives a bridge.
const defaultBridge = "cni0"

// ParseConfig reads what the runtime writes to standard input. What the values ask for together is checked by [Config.Attachment].
func ParseConfig(text []byte) (Config, error) {
	c := Config{Bridge: defaultBridge, SNAT: true}
	if err := configKeys.decode(&c, "", text); err != nil {
		return c, err
	}
	c.IsGateway = c.IsGateway || c.IsDefaultGateway
	if c.IPAM != nil && c.IPAM.Type == "" {
		c.IPAM = nil
	}
	return c, c.checkName()
}

// parseIdentity reads only what each command needs: what a network is called and where its daemon is. A DEL and a GC must succeed with a
// configuration that has become wrong otherwise.
func parseIdentity(text []byte) (Config, error) {
	var c Config
	if err := identityKeys.decode(&c, "", text); err != nil {
		return c, err
	}
	return c, c.checkName()
}

func (c *Config) checkName() error {
	if err := bridged.CheckName("network", c.Name); err != nil {
		return errorf(CodeInvalid, "name: %v", err)
	}
	return nil
}
