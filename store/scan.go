package store

import (
	"bytes"
	"encoding"
	"encoding/binary"
	"math/bits"
	"strconv"

	"github.com/bridged/bridged"
)

// Most of a log is sandboxes, endpoints and ports, thousands of them, and a start waits for it. A scanner reads these a good deal faster than
// package encoding/json, which reads whatever the scanner leaves: what is rare, what has other than plain text in it, what
// somebody else wrote. What a scanner reads is what encoding/json would have read.

// scanner reads JSON without spaces.
type scanner struct {
	rest   []byte
	failed bool
	// texts holds each text once: a sandbox's id is said again by each of its ports.
	texts map[string]string
	// binds is the binding that was read last, bound what it was read of.
	binds bridged.Binding
	bound []byte
}

func newScanner() *scanner { return &scanner{texts: make(map[string]string)} }

// change reads a whole record; false: it is not for the scanner.
func (s *scanner) change(body []byte) (c bridged.Change, ok bool) {
	s.rest, s.failed, s.bound = body, false, nil
	s.object(func(key []byte) bool {
		switch string(key) {
		case "Sandboxes":
			c.Sandboxes = scanMap(s, c.Sandboxes, s.text, s.sandbox)
		case "Endpoints":
			c.Endpoints = scanMap(s, c.Endpoints, s.text, s.endpoint)
		case "Ports":
			c.Ports = scanMap(s, c.Ports, s.binding, s.port)
		default:
			return false
		}
		return true
	})
	return c, !s.failed && len(s.rest) == 0
}

// usualSize is about what a sandbox, an endpoint or a port takes in the log, in bytes.
const usualSize = 256

// atOnce is for how many values room is made at once, at most.
const atOnce = 64

// scanMap reads an object into m, which may be nil.
func scanMap[K comparable, V any](s *scanner, m map[K]*V, key func() K, value func(*V)) map[K]*V {
	if m == nil {
		m = make(map[K]*V, len(s.rest)/usualSize)
	}
	var room []V
	s.members(func() {
		k := key()
		s.want(':')
		if s.skip("null") {
			m[k] = nil
			return
		}
		if len(room) == 0 {
			room = make([]V, min(len(m)+1, atOnce))
		}
		v := &room[0]
		room = room[1:]
		value(v)
		m[k] = v
	})
	return m
}

func (s *scanner) sandbox(v *bridged.Sandbox) {
	s.object(func(key []byte) bool {
		switch string(key) {
		case "ID":
			v.ID = s.text()
		case "Name":
			v.Name = s.text()
		case "Created":
			s.unmarshal(&v.Created)
		case "Mode":
			v.Mode = bridged.Mode(s.text())
		case "Shares":
			v.Shares = s.text()
		case "Gone":
			v.Gone = s.bool()
		case "NetNS":
			v.NetNS = s.text()
		case "NSID":
			s.namespace(&v.NSID)
		case "Made":
			v.Made = s.bool()
		case "Settled":
			v.Settled = s.bool()
		default:
			return false
		}
		return true
	})
}

func (s *scanner) namespace(v *bridged.NamespaceID) {
	s.object(func(key []byte) bool {
		switch string(key) {
		case "Dev":
			v.Dev = s.number(64)
		case "Ino":
			v.Ino = s.number(64)
		case "Cookie":
			v.Cookie = s.number(64)
		default:
			return false
		}
		return true
	})
}

func (s *scanner) endpoint(v *bridged.Endpoint) {
	s.object(func(key []byte) bool {
		switch string(key) {
		case "ID":
			v.ID = s.text()
		case "Network":
			v.Network = s.text()
		case "Sandbox":
			v.Sandbox = s.text()
		case "HostInterface":
			v.HostInterface = s.text()
		case "Interface":
			v.Interface = s.text()
		case "Peer":
			v.Peer = s.text()
		case "Name":
			v.Name = s.text()
		case "MAC":
			s.unmarshal(&v.MAC)
		case "MTU":
			v.MTU = int(s.number(31))
		case "IPv4":
			s.unmarshal(&v.IPv4)
		case "IPv6":
			s.unmarshal(&v.IPv6)
		case "Created":
			s.unmarshal(&v.Created)
		case "Priority":
			v.Priority = int(s.number(31))
		default:
			return false
		}
		return true
	})
}

func (s *scanner) port(v *bridged.Port) {
	s.object(func(key []byte) bool {
		switch string(key) {
		case "Binding":
			v.Binding = s.binding()
		case "Sandbox":
			v.Sandbox = s.text()
		case "Endpoint":
			v.Endpoint = s.text()
		case "ContainerPort":
			v.ContainerPort = uint16(s.number(16))
		default:
			return false
		}
		return true
	})
}

// binding reads a binding. A port's is there twice, one after the other.
func (s *scanner) binding() bridged.Binding {
	text := s.quoted()
	if len(text) == 0 || !bytes.Equal(text, s.bound) {
		s.failed = s.failed || s.binds.UnmarshalText(text) != nil
		s.bound = text
	}
	return s.binds
}

// object reads an object's members; field reads the value of one, and is false when it does not know the key.
func (s *scanner) object(field func(key []byte) bool) {
	s.members(func() {
		key := s.quoted()
		s.want(':')
		if !s.failed && !field(key) {
			s.failed = true
		}
	})
}

// members reads an object; member reads one member of it.
func (s *scanner) members(member func()) {
	s.want('{')
	if s.skip("}") {
		return
	}
	for !s.failed {
		member()
		if !s.skip(",") {
			break
		}
	}
	s.want('}')
}

func (s *scanner) want(c byte) {
	if len(s.rest) == 0 || s.rest[0] != c {
		s.failed = true
		return
	}
	s.rest = s.rest[1:]
}

// skip reads this if it is there.
func (s *scanner) skip(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

// quoted reads a text of printable ASCII, in which nothing is escaped.
func (s *scanner) quoted() []byte {
	s.want('"')
	n := plain(s.rest)
	if n == len(s.rest) || s.rest[n] != '"' {
		s.failed = true
		return nil
	}
	text := s.rest[:n]
	s.rest = s.rest[n+1:]
	return text
}

// plain is how many bytes b begins with that are printable ASCII, but no quote and no backslash. It looks at eight at a time.
func plain(b []byte) (n int) {
	for ; n+8 <= len(b); n += 8 {
		if odd := special(binary.LittleEndian.Uint64(b[n:])); odd != 0 {
			return n + bits.TrailingZeros64(odd)/8
		}
	}
	for n < len(b) && special(uint64(b[n])|' '*(each-1)) == 0 {
		n++
	}
	return n
}

// each is one in each byte.
const each = 0x0101010101010101

// special has the highest bit of each byte of w set that is not plain, and maybe of bytes above that one.
func special(w uint64) uint64 {
	none := func(w uint64) uint64 { return (w - each) &^ w } // of a byte that is 0
	return (w | (w-' '*each)&^w | none(w^'"'*each) | none(w^'\\'*each) | none(w^0x7f*each)) & (0x80 * each)
}

func (s *scanner) text() string {
	b := s.quoted()
	text, known := s.texts[string(b)]
	if !known {
		text = string(b)
		s.texts[text] = text
	}
	return text
}

func (s *scanner) unmarshal(v encoding.TextUnmarshaler) {
	text := s.quoted()
	s.failed = s.failed || v.UnmarshalText(text) != nil
}

func (s *scanner) bool() bool {
	if s.skip("true") {
		return true
	}
	s.failed = s.failed || !s.skip("false")
	return false
}

// number reads a whole number of so many bits.
func (s *scanner) number(bits int) uint64 {
	digits := 0
	for digits < len(s.rest) && '0' <= s.rest[digits] && s.rest[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseUint(string(s.rest[:digits]), 10, bits)
	s.failed = s.failed || err != nil || digits > 1 && s.rest[0] == '0'
	s.rest = s.rest[digits:]
	return n
}
