package cni

import (
	"encoding/json"
	"net/netip"

	"github.com/bridged/bridged"
)

// Result is the answer to an ADD, in the shape of its version: an earlier one has less in it.
type Result struct {
	CNIVersion Version `json:"cniVersion"`
	// Interfaces, IPs and Routes are those of the plugins before, as they were, and then ours.
	Interfaces []any `json:"interfaces,omitempty"`
	IPs        []any `json:"ips,omitempty"`
	Routes     []any `json:"routes,omitempty"`
	DNS        any   `json:"dns,omitempty"`
}

// Interface is an interface in a [Result].
type Interface struct {
	Name    string `json:"name"`
	MAC     string `json:"mac,omitempty"`
	MTU     int    `json:"mtu,omitempty"`     // since 1.1.0
	Sandbox string `json:"sandbox,omitempty"` // the path of the namespace; "": the host's
}

// IP is an address in a [Result].
type IP struct {
	Version   string       `json:"version,omitempty"` // "4" or "6", before 1.0.0
	Interface int          `json:"interface"`         // which of the interfaces has it
	Address   netip.Prefix `json:"address"`
	Gateway   netip.Addr   `json:"gateway,omitzero"`
}

// Route is a route in a [Result]. What is not Dst or Gateway is there since 1.1.0.
type Route struct {
	Dst      netip.Prefix `json:"dst"`
	Gateway  netip.Addr   `json:"gw,omitzero"`
	MTU      int          `json:"mtu,omitempty"`
	Priority int          `json:"priority,omitempty"`
	Table    int          `json:"table,omitempty"`
}

// previous is the result of the plugins before: its parts are passed on as they are. A result has the version of the configuration.
type previous struct {
	Interfaces []json.RawMessage
	IPs        []json.RawMessage
	Routes     []json.RawMessage
	DNS        json.RawMessage
}

// parsePrevious reads prevResult; without one it is empty.
func (c *Config) parsePrevious() (p previous, err error) {
	if len(c.PrevResult) == 0 {
		return p, nil
	}
	if err := json.Unmarshal(c.PrevResult, &p); err != nil {
		return p, decodeError("prevResult", c.PrevResult, err)
	}
	return p, nil
}

// newResult is the result of an attachment.
func newResult(v Version, prev previous, a bridged.Attachment, dns DNS) Result {
	r := Result{CNIVersion: v, Interfaces: boxed(prev.Interfaces), IPs: boxed(prev.IPs), Routes: boxed(prev.Routes)}
	if len(prev.DNS) > 0 {
		r.DNS = prev.DNS
	}
	if !dns.isZero() {
		r.DNS = dns
	}
	inner := len(r.Interfaces) + 2
	r.Interfaces = append(r.Interfaces, newInterface(v, a.Bridge, ""), newInterface(v, a.Host, ""), newInterface(v, a.Inner, a.NetNS))
	if a.Shaper.Name != "" {
		r.Interfaces = append(r.Interfaces, newInterface(v, a.Shaper, ""))
	}
	for _, ip := range a.IPs {
		r.IPs = append(r.IPs, newIP(v, ip, inner))
	}
	for _, route := range a.Routes {
		r.Routes = append(r.Routes, newRoute(v, route))
	}
	return r
}

func boxed(list []json.RawMessage) []any {
	all := make([]any, len(list))
	for i, v := range list {
		all[i] = v
	}
	return all
}

func newInterface(v Version, l bridged.AttachmentLink, sandbox string) Interface {
	i := Interface{Name: l.Name, MAC: l.MAC.String(), MTU: l.MTU, Sandbox: sandbox}
	if !v.has(version110) {
		i.MTU = 0
	}
	return i
}

func newIP(v Version, a bridged.AttachmentIP, inner int) IP {
	ip := IP{Interface: inner, Address: a.Address, Gateway: a.Gateway}
	if !v.has(version100) {
		ip.Version = "4"
		if a.Address.Addr().Is6() {
			ip.Version = "6"
		}
	}
	return ip
}

func newRoute(v Version, r bridged.Route) Route {
	if !v.has(version110) {
		return Route{Dst: r.Dst, Gateway: r.Gateway}
	}
	return Route{Dst: r.Dst, Gateway: r.Gateway, MTU: r.MTU, Priority: r.Priority, Table: r.Table}
}

// addressesOf are the addresses that a previous result gives to an interface of a container.
func (p previous) addressesOf(e Environment) (all []netip.Addr) {
	for _, text := range p.IPs {
		var ip struct {
			Interface *int
			Address   prefix
		}
		if json.Unmarshal(text, &ip) != nil || ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(p.Interfaces) {
			continue
		}
		var i Interface
		if json.Unmarshal(p.Interfaces[*ip.Interface], &i) == nil && i.Name == e.Interface && i.Sandbox != "" {
			all = append(all, ip.Address.prefix().Addr())
		}
	}
	return all
}
