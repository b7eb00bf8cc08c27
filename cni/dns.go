package cni

import (
	"os"
	"strings"
)

// DNS is the resolver of a container, which runtimes write to its resolv.conf.
type DNS struct {
	Nameservers []string `json:"nameservers,omitempty"`
	Domain      string   `json:"domain,omitempty"`
	Search      []string `json:"search,omitempty"`
	Options     []string `json:"options,omitempty"`
}

func (d DNS) isZero() bool {
	return len(d.Nameservers) == 0 && d.Domain == "" && len(d.Search) == 0 && len(d.Options) == 0
}

// resolver is the DNS of a result: what the runtime asks for, else what the configuration says, else ipam.resolvConf.
func (c *Config) resolver() (DNS, error) {
	runtime := DNS{Nameservers: c.RuntimeConfig.DNS.Servers, Search: c.RuntimeConfig.DNS.Searches, Options: c.RuntimeConfig.DNS.Options}
	switch {
	case !runtime.isZero():
		return runtime, nil
	case !c.DNS.isZero():
		return c.DNS, nil
	case c.IPAM == nil || c.IPAM.ResolvConf == "":
		return DNS{}, nil
	}
	text, err := os.ReadFile(c.IPAM.ResolvConf)
	if err != nil {
		return DNS{}, errorf(CodeIO, "ipam.resolvConf: %v", err)
	}
	return parseResolvConf(string(text)), nil
}

// parseResolvConf reads resolv.conf(5). Comments begin with a word that is none of its keywords.
func parseResolvConf(text string) (d DNS) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch values := words[1:]; words[0] {
		case "nameserver":
			d.Nameservers = append(d.Nameservers, values[0])
		case "domain":
			d.Domain = values[0]
		case "search":
			d.Search = append(d.Search, values...)
		case "options":
			d.Options = append(d.Options, values...)
		}
	}
	return d
}
