package store

import (
	"bytes"
	"encoding"
	"strconv"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/ordered"
)

// A request waits for its record. A printer writes what a scanner reads, byte for byte as encoding/json writes it, without looking at the types each
// time: most of a record's price. What it can't write is left to encoding/json.

// printer writes JSON without spaces.
type printer struct {
	text   []byte
	failed bool
	// binds is the binding whose text was made last, bound that text.
	binds bridged.Binding
	bound []byte
}

// appendChange appends a change to b; false: it is not for the printer, and b is as it was.
func appendChange(b []byte, c bridged.Change) ([]byte, bool) {
	if len(c.Networks)+len(c.Links)+len(c.Pools)+len(c.Reservations)+len(c.Reserved) > 0 || c.Forwarding != nil {
		return b, false
	}
	p := printer{text: append(b, '{')}
	if len(c.Sandboxes) > 0 {
		printMap(&p, "Sandboxes", c.Sandboxes, idText, p.sandbox)
	}
	if len(c.Endpoints) > 0 {
		printMap(&p, "Endpoints", c.Endpoints, idText, p.endpoint)
	}
	if len(c.Ports) > 0 {
		printMap(&p, "Ports", c.Ports, p.binding, p.port)
	}
	p.text = append(p.text, '}')
	if p.failed {
		return b, false
	}
	return p.text, true
}

func idText(id string) []byte { return []byte(id) }

// printMap writes a member whose values are in the order of their keys' texts.
func printMap[K comparable, V any](p *printer, name string, m map[K]*V, text func(K) []byte, value func(*V)) {
	type member struct {
		key   []byte
		value *V
	}
	members := make([]member, 0, len(m))
	for k, v := range m {
		members = append(members, member{text(k), v})
	}
	ordered.Sort(members, func(a, b member) int { return bytes.Compare(a.key, b.key) })
	p.name(name)
	p.text = append(p.text, '{')
	for _, m := range members {
		p.part()
		p.quote(m.key)
		if m.value == nil {
			p.text = append(p.text, ":null"...)
			continue
		}
		p.text = append(p.text, ":{"...)
		value(m.value)
		p.text = append(p.text, '}')
	}
	p.text = append(p.text, '}')
}

func (p *printer) sandbox(v *bridged.Sandbox) {
	p.failed = p.failed || v.CNI
	p.string("ID", v.ID)
	p.string("Name", v.Name)
	p.marshal("Created", v.Created)
	p.string("Mode", string(v.Mode))
	p.string("Shares", v.Shares)
	p.bool("Gone", v.Gone)
	p.string("NetNS", v.NetNS)
	p.name("NSID")
	p.text = append(p.text, '{')
	p.number("Dev", v.NSID.Dev)
	p.number("Ino", v.NSID.Ino)
	p.number("Cookie", v.NSID.Cookie)
	p.text = append(p.text, '}')
	p.bool("Made", v.Made)
	p.bool("Settled", v.Settled)
}

func (p *printer) endpoint(v *bridged.Endpoint) {
	p.failed = p.failed || v.MTU < 0 || v.Priority < 0 || rare(v)
	p.string("ID", v.ID)
	p.string("Network", v.Network)
	p.string("Sandbox", v.Sandbox)
	p.string("HostInterface", v.HostInterface)
	p.string("Interface", v.Interface)
	if v.Peer != "" {
		p.string("Peer", v.Peer)
	}
	if v.Name != "" {
		p.string("Name", v.Name)
	}
	p.marshal("MAC", v.MAC)
	p.number("MTU", uint64(v.MTU))
	p.marshal("IPv4", v.IPv4)
	p.marshal("IPv6", v.IPv6)
	p.marshal("Created", v.Created)
	p.number("Priority", uint64(v.Priority))
}

// rare says whether the endpoint has something that only attachments have, or that few ask for.
func rare(v *bridged.Endpoint) bool {
	in := v.Inside
	return v.NoHairpin || len(v.Aliases)+len(v.Sysctls)+len(v.Labels) > 0 || v.Bandwidth != bridged.Bandwidth{} ||
		in.Routes != nil || in.MTU != 0 || in.Promisc || in.DAD || in.Down
}

func (p *printer) port(v *bridged.Port) {
	p.name("Binding")
	p.quote(p.binding(v.Binding))
	p.string("Sandbox", v.Sandbox)
	p.string("Endpoint", v.Endpoint)
	p.number("ContainerPort", uint64(v.ContainerPort))
}

// binding is a binding's text. A port's is there twice.
func (p *printer) binding(b bridged.Binding) []byte {
	if p.bound == nil || b != p.binds {
		text, err := b.MarshalText()
		p.failed = p.failed || err != nil
		p.binds, p.bound = b, text
	}
	return p.bound
}

// name begins a member of an object.
func (p *printer) name(name string) {
	p.part()
	p.text = append(append(append(p.text, '"'), name...), `":`...)
}

// part parts a member from the one before.
func (p *printer) part() {
	if p.text[len(p.text)-1] != '{' {
		p.text = append(p.text, ',')
	}
}

// quote writes a text of printable ASCII, in which nothing is escaped.
func (p *printer) quote(text []byte) {
	p.failed = p.failed || plain(text) != len(text)
	p.text = append(append(append(p.text, '"'), text...), '"')
}

func (p *printer) string(name, text string) {
	p.name(name)
	at := len(p.text) + 1
	p.text = append(append(append(p.text, '"'), text...), '"')
	p.failed = p.failed || plain(p.text[at:len(p.text)-1]) != len(text)
}

func (p *printer) bool(name string, v bool) {
	p.name(name)
	p.text = strconv.AppendBool(p.text, v)
}

func (p *printer) number(name string, n uint64) {
	p.name(name)
	p.text = strconv.AppendUint(p.text, n, 10)
}

func (p *printer) marshal(name string, v encoding.TextMarshaler) {
	text, err := v.MarshalText()
	p.failed = p.failed || err != nil
	p.name(name)
	p.quote(text)
}
