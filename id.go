package bridged

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// NewID returns a fresh object id: 64 hex digits.
func NewID() string {
	var b [32]byte
	rand.Read(b[:]) // never fails, see its documentation
	return hex.EncodeToString(b[:])
}

// CheckID says whether id has the form of those of [NewID].
func CheckID(kind, id string) error {
	if len(id) != 64 || strings.Trim(id, "0123456789abcdef") != "" {
		return Errorf(ErrInvalid, "invalid %s id %.70q: want 64 hex digits in lower case", kind, id)
	}
	return nil
}

// Link names of ours: a prefix and 12 hex digits of a random id, 14 bytes of the kernel's 15.
const (
	// PortPrefix begins the name of each host end of a pair, the bridge's port. The packet program knows it.
	PortPrefix = "bv"
	// PeerPrefix begins the name of the other end of a pair that is made for a caller, until the caller gives it another one.
	PeerPrefix = "bp"
	// ShaperPrefix begins the name of the link that limits what a pair's inner end sends; the digits are those of the host end.
	ShaperPrefix = "bi"
	// BridgePrefix begins the name of a bridge whose name the user did not choose.
	BridgePrefix = "bd"
)

// NewLinkName returns a link name that was never used before: prefix and 12 random hex digits.
func NewLinkName(prefix string) string { return prefix + NewID()[:12] }

// alphanumeric is what a name begins with. No pattern is compiled for it: the CNI plugin checks names, and is there for a millisecond.
const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// MaxName is the longest name of a network or a sandbox, in bytes: a file name on Linux.
const MaxName = 255

// CheckName says whether name can name an object of this kind ("network", "sandbox").
func CheckName(kind, name string) error {
	switch {
	case name == "":
		return Errorf(ErrInvalid, "the %s needs a name", kind)
	case len(name) > MaxName:
		return Errorf(ErrInvalid, "invalid %s name %.20q…: %d bytes, at most %d are possible", kind, name, len(name), MaxName)
	case !strings.ContainsRune(alphanumeric, rune(name[0])), strings.Trim(name, alphanumeric+"_.-") != "":
		return Errorf(ErrInvalid, "invalid %s name %q: use letters, digits, '_', '.' and '-', and begin with a letter or a digit", kind, name)
	}
	return nil
}

// MaxLinkName is the longest interface name the kernel takes, in bytes (IFNAMSIZ − 1).
const MaxLinkName = 15

// CheckLinkName says whether name can be an interface's name: the kernel's dev_valid_name, of text that JSON keeps as it is.
func CheckLinkName(name string) error {
	switch {
	case name == "":
		return Errorf(ErrInvalid, "an interface needs a name")
	case len(name) > MaxLinkName:
		return Errorf(ErrInvalid, "invalid interface name %q: %d bytes, at most %d are possible", name, len(name), MaxLinkName)
	case !utf8.ValidString(name):
		return Errorf(ErrInvalid, "invalid interface name %q: it must be UTF-8", name)
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r%\x00"):
		return Errorf(ErrInvalid, "invalid interface name %q: '/', ':', '%%' and white space are not possible", name)
	}
	return nil
}

// CheckNewLinkName is [CheckLinkName] for an interface that is to be made.
func CheckNewLinkName(name string) error {
	if name == "lo" || name == "all" || name == "default" { // the latter two are those of all interfaces' settings
		return Errorf(ErrInvalid, "invalid interface name %q: it is taken in every namespace", name)
	}
	return CheckLinkName(name)
}

// CheckBridgeName is [CheckNewLinkName] for a bridge: names that begin with [PortPrefix] are those of ports, which the packet
// program lets speak through their bridge only.
func CheckBridgeName(name string) error {
	if strings.HasPrefix(name, PortPrefix) {
		return Errorf(ErrInvalid, "invalid bridge name %q: names that begin with %q are those of ports", name, PortPrefix)
	}
	return CheckNewLinkName(name)
}
