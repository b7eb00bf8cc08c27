package engine

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/link"
)

// label is what the alias of a host end says of its sandbox and endpoint: what the kernel itself would not tell. People read it in `ip link`,
// and a start that lost its log rebuilds the two from it. Only who rules the host's links can write it; a sandbox can't.
type label struct {
	sandbox  bridged.Sandbox  // ID, Name, Created in seconds, Made, and of NSID the inode and the cookie; of a lease nothing
	endpoint bridged.Endpoint // ID, Interface, MAC and addresses, these without the length of their prefix; of a lease also the key, Peer and Name
}

// The words of a label. The first is followed by the sandbox's name, the others stand before their value.
const (
	labelFirst    = "bridged"
	labelNameless = "-" // in place of a name that does not fit
	labelSandbox  = "id="
	labelEndpoint = "ep="
	labelInner    = "if="
	labelMAC      = "mac="
	labelIP       = "ip="
	labelSpace    = "ns="
	labelSince    = "since="
	labelMade     = "made"
	labelCNI      = "cni"
	labelRates    = "bw="
	labelLease    = "key="
	labelPeer     = "peer="
)

// newLabel is the label of an endpoint.
func newLabel(s bridged.Sandbox, e bridged.Endpoint) label { return label{sandbox: s, endpoint: e} }

// String is as "bridged web id=… ep=… if=eth0 ip=172.17.0.2 ns=4026532301.17 since=1763700000 made", with the ids in base64url. The MAC is
// left out where it follows from the first address; what does not fit into an alias is left out, too: first the time, then
// the name. That of an attachment also has the word "cni", and "bw=" with rate and burst of ingress, then of egress, and dots between; the sandbox's id,
// which follows from the name, is left out. It is empty
// for ids that are not ours. Of a lease it is as "bridged web key=… ep=… peer=bp0123456789ab ip=172.17.0.2", and empty for keys that are no names
// or too long.
func (l label) String() string {
	if l.endpoint.Peer != "" {
		return l.leased()
	}
	sandbox, endpoint := shorten(l.sandbox.ID), shorten(l.endpoint.ID)
	if sandbox == "" || endpoint == "" {
		return ""
	}
	words := append([]string{labelEndpoint + endpoint, labelInner + l.endpoint.Interface}, l.addresses()...)
	words = append(words, labelSpace+strconv.FormatUint(l.sandbox.NSID.Ino, 10)+"."+strconv.FormatUint(l.sandbox.NSID.Cookie, 10))
	if l.sandbox.Made {
		words = append(words, labelMade)
	}
	if l.sandbox.CNI {
		words = append(words, labelCNI)
	}
	if b := l.endpoint.Bandwidth; b != (bridged.Bandwidth{}) {
		words = append(words, fmt.Sprintf("%s%d.%d.%d.%d", labelRates, b.Ingress.Rate, b.Ingress.Burst, b.Egress.Rate, b.Egress.Burst))
	}
	id, rest := " "+labelSandbox+sandbox, " "+strings.Join(words, " ")
	name, since := cmp.Or(l.sandbox.Name, labelNameless), ""
	named := labelFirst + " " + name + id + rest
	if l.sandbox.CNI && l.sandbox.ID == containerID(l.sandbox.Name) {
		named = labelFirst + " " + name + rest
	}
	if !l.sandbox.Created.IsZero() {
		since = " " + labelSince + strconv.FormatInt(l.sandbox.Created.Unix(), 10)
	}
	for _, text := range []string{named + since, named} {
		if len(text) <= link.MaxAlias {
			return text
		}
	}
	return labelFirst + " " + labelNameless + id + rest
}

// leased is the label of a lease.
func (l label) leased() string {
	endpoint := shorten(l.endpoint.ID)
	if endpoint == "" || bridged.CheckName("key", l.endpoint.Sandbox) != nil {
		return ""
	}
	words := []string{labelLease + l.endpoint.Sandbox, labelEndpoint + endpoint, labelPeer + l.endpoint.Peer}
	rest := strings.Join(append(words, l.addresses()...), " ")
	for _, name := range []string{cmp.Or(l.endpoint.Name, labelNameless), labelNameless} {
		if text := labelFirst + " " + name + " " + rest; len(text) <= link.MaxAlias {
			return text
		}
	}
	return ""
}

// addresses are the words for the endpoint's MAC and addresses.
func (l label) addresses() (words []string) {
	addrs := l.endpoint.Addrs()
	if len(addrs) == 0 || l.endpoint.MAC != bridged.MAC(addr.MACOf(addrs[0])) {
		words = append(words, labelMAC+l.endpoint.MAC.String())
	}
	for _, a := range addrs {
		words = append(words, labelIP+a.String())
	}
	return words
}

// parseLabel reads what String wrote; false for any other alias. A name that did not fit is empty, a time that did not fit is zero.
func parseLabel(text string) (l label, ok bool) {
	words := strings.Split(text, " ")
	if len(words) < 2 || words[0] != labelFirst {
		return l, false
	}
	if words[1] != labelNameless {
		if bridged.CheckName("sandbox", words[1]) != nil {
			return l, false
		}
		l.sandbox.Name = words[1]
	}
	for _, word := range words[2:] {
		if !l.read(word) {
			return l, false
		}
	}
	if addrs := l.endpoint.Addrs(); l.endpoint.MAC == (bridged.MAC{}) && len(addrs) > 0 {
		l.endpoint.MAC = bridged.MAC(addr.MACOf(addrs[0]))
	}
	if l.endpoint.Peer != "" {
		l.endpoint.Name, l.sandbox.Name = l.sandbox.Name, ""
		return l, l.sandbox == bridged.Sandbox{} && l.endpoint.Interface == "" && l.endpoint.Sandbox != "" && l.endpoint.ID != "" &&
			l.endpoint.MAC != bridged.MAC{} && bridged.CheckLinkName(l.endpoint.Peer) == nil
	}
	if l.sandbox.CNI && l.sandbox.ID == "" && l.sandbox.Name != "" {
		l.sandbox.ID = containerID(l.sandbox.Name)
	}
	whole := l.endpoint.Sandbox == "" && l.sandbox.ID != "" && l.endpoint.ID != "" && l.sandbox.NSID.Ino != 0 && l.endpoint.MAC != bridged.MAC{} &&
		bridged.CheckLinkName(l.endpoint.Interface) == nil
	return l, whole
}

// read takes one word.
func (l *label) read(word string) bool {
	switch word {
	case labelMade:
		l.sandbox.Made = true
		return true
	case labelCNI:
		l.sandbox.CNI = true
		return true
	}
	key, value, _ := strings.Cut(word, "=")
	var err error
	switch key + "=" {
	case labelSandbox:
		l.sandbox.ID = lengthen(value)
	case labelEndpoint:
		l.endpoint.ID = lengthen(value)
	case labelInner:
		l.endpoint.Interface = value
	case labelLease:
		l.endpoint.Sandbox, err = value, bridged.CheckName("key", value)
	case labelPeer:
		l.endpoint.Peer = value
	case labelMAC:
		l.endpoint.MAC, err = bridged.ParseMAC(value)
	case labelIP:
		err = l.readIP(value)
	case labelSpace:
		ino, cookie, _ := strings.Cut(value, ".")
		if l.sandbox.NSID.Ino, err = strconv.ParseUint(ino, 10, 64); err == nil {
			l.sandbox.NSID.Cookie, err = strconv.ParseUint(cookie, 10, 64)
		}
	case labelRates:
		err = l.readRates(value)
	case labelSince:
		var seconds int64
		seconds, err = strconv.ParseInt(value, 10, 64)
		l.sandbox.Created = time.Unix(seconds, 0).UTC()
	default:
		return false
	}
	return err == nil
}

func (l *label) readRates(value string) error {
	var numbers [4]uint64
	texts := strings.Split(value, ".")
	if len(texts) != len(numbers) {
		return strconv.ErrSyntax
	}
	for i, text := range texts {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return err
		}
		numbers[i] = n
	}
	l.endpoint.Bandwidth = bridged.Bandwidth{
		Ingress: bridged.Rate{Rate: numbers[0], Burst: numbers[1]}, Egress: bridged.Rate{Rate: numbers[2], Burst: numbers[3]},
	}
	return checkBandwidth(l.endpoint.Bandwidth)
}

func (l *label) readIP(value string) error {
	a, err := netip.ParseAddr(value)
	if err != nil {
		return err
	}
	prefix := netip.PrefixFrom(a.WithZone(""), a.BitLen())
	if a.Is4() {
		l.endpoint.IPv4 = prefix
	} else {
		l.endpoint.IPv6 = prefix
	}
	return nil
}

// shorten is an id of ours in base64url, a third shorter; "" for one that is not ours.
func shorten(id string) string {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != idSize || strings.ToLower(id) != id {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// lengthen takes shorten back; "" when it can't.
func lengthen(short string) string {
	b, err := base64.RawURLEncoding.Strict().DecodeString(short)
	if err != nil || len(b) != idSize {
		return ""
	}
	return hex.EncodeToString(b)
}

// idSize is the length of an id of [bridged.NewID], in bytes.
const idSize = 32
