package hostcheck

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/bridged/bridged/internal/fuzztest"
	"github.com/bridged/bridged/nft"
)

// heldKernel is a netlink socket to a kernel that holds nf_tables objects, each as the message that it lists it by, and nothing else.
type heldKernel struct {
	objects, answers []netlink.Message
}

// heldBy is a kernel that holds the messages of a stream, with edits of five bytes each: an object, and what to edit of it.
func heldBy(stream, edits []byte) *heldKernel {
	const header = unix.SizeofNlMsghdr + nfgenmsgLen
	k := &heldKernel{}
	for len(stream) >= header {
		size := int(binary.NativeEndian.Uint32(stream))
		if size < header || size > len(stream) {
			break
		}
		m := netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(binary.NativeEndian.Uint16(stream[4:]))}}
		m.Data = slices.Clone(stream[unix.SizeofNlMsghdr:size])
		k.objects = append(k.objects, m)
		stream = stream[min(len(stream), (size+3)&^3):]
	}
	const editSize = 5
	for ; len(edits) >= editSize && len(k.objects) > 0; edits = edits[editSize:] {
		o := &k.objects[int(edits[0])%len(k.objects)]
		o.Data = append(o.Data[:nfgenmsgLen:nfgenmsgLen], fuzztest.Edit(o.Data[nfgenmsgLen:], edits[1:editSize])...)
	}
	return k
}

// Send answers a list: of objects in the family, of the table, and of the set or chain that the request names.
func (k *heldKernel) Send(request netlink.Message) error {
	k.answers = nil
	get := request.Header.Type
	if get == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN {
		k.answers = []netlink.Message{{Header: netlink.Header{Type: get - 1, Sequence: request.Header.Sequence}, Data: request.Data}}
		return nil
	}
	named := func(b []byte, want uint16) []byte { return nested(b[nfgenmsgLen:], want) }
	for _, o := range k.objects {
		if o.Header.Type+1 != get || request.Data[0] != 0 && request.Data[0] != o.Data[0] { // NFT_MSG_NEW… is before NFT_MSG_GET…
			continue
		}
		in := func(attribute uint16) bool {
			want := named(request.Data, attribute)
			return want == nil || bytes.Equal(want, named(o.Data, attribute))
		}
		if in(unix.NFTA_RULE_TABLE) && in(unix.NFTA_RULE_CHAIN) { // of elements these are the table and the set
			o.Header.Flags, o.Header.Sequence = netlink.Multi, request.Header.Sequence
			k.answers = append(k.answers, o)
		}
	}
	k.answers = append(k.answers, netlink.Message{Header: netlink.Header{Type: netlink.Done, Flags: netlink.Multi, Sequence: request.Header.Sequence}, Data: make([]byte, 4)})
	return nil
}

func (k *heldKernel) Receive() ([]netlink.Message, error) { return k.answers, nil }

func (k *heldKernel) ReceiveIter() iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) {
		for _, m := range k.answers {
			if !yield(m, nil) {
				return
			}
		}
	}
}

func (k *heldKernel) SendMessages([]netlink.Message) error { return unix.EOPNOTSUPP }
func (k *heldKernel) Close() error                         { return nil }

// patience is how long it may take to judge a ruleset of some kilobytes.
const patience = 30 * time.Second

// FuzzRuleset: whatever rules somebody has, reading and judging them comes to an end, always the same one, and what a match says of
// addresses can be compared with one. And rules that can be drawn are read as they were drawn. The seeds are what Linux 6.18 holds of the
// usual firewalls.
func FuzzRuleset(f *testing.F) {
	f.Add([]byte{}, []byte{})
	drawn := rapid.MakeFuzz(ruleIsRead)
	own := Own{Bridges: []OwnBridge{{Name: "docker0", Subnets: []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16"), netip.MustParsePrefix("fd00::/64")}}}}
	f.Fuzz(func(t *testing.T, stream, edits []byte) {
		r := rulesReader{conn: netlink.NewConn(heldBy(stream, edits), 1), ours: own.tables(), links: map[int]string{1: "lo", 2: "docker0"}}
		begin := time.Now()
		tables, err := r.read()
		if err == nil {
			for _, table := range tables {
				for _, c := range table.Chains {
					for _, rule := range c.Rules {
						judgeable(t, rule)
					}
				}
			}
			h := Host{Own: own, Tables: tables, BridgeNF4: true, Uplinks: []string{"eth0"}}
			if first, second := Findings(h), Findings(h); !reflect.DeepEqual(first, second) {
				t.Fatalf("found is %v, and then %v", first, second)
			}
		}
		if took := time.Since(begin); took > patience {
			t.Fatalf("%d bytes took %v", len(stream), took)
		}
		drawn(t, stream)
	})
}

// Chains that jump to the next one several times are judged all the same: 16 of them with 8 jumps each have more ways than can ever be gone.
func TestJumpsMultiply(t *testing.T) {
	table := Table{ID: nft.TableID{Family: nft.Inet, Name: "t"}}
	for i := range maxJumps {
		c := Chain{Name: fmt.Sprint(i)}
		for range 8 {
			c.Rules = append(c.Rules, Rule{Verdict: Jump, Chain: fmt.Sprint(i + 1)})
		}
		table.Chains = append(table.Chains, c)
	}
	table.Chains[0].Hook, table.Chains[0].Policy = &nft.Hook{Point: nft.Forward}, Accept
	table.Chains = append(table.Chains, Chain{Name: fmt.Sprint(maxJumps), Rules: []Rule{{Matches: []Match{{}}, Verdict: Accept}, {Verdict: Return}}})
	if found := Findings(Host{Tables: []Table{table}}); len(found) != 0 {
		t.Errorf("found: %v", found)
	}
	table.Chains[maxJumps].Rules = []Rule{{Verdict: Drop}}
	if found := Findings(Host{Tables: []Table{table}}); len(found) != 1 || found[0].Kind != ForwardDrop {
		t.Errorf("found: %v", found)
	}
}

// judgeable: addresses are spans of one family, and what is not known says nothing.
func judgeable(t *testing.T, r Rule) {
	t.Helper()
	_ = r.String()
	for _, m := range r.Matches {
		if m.Field == Other && (m.Not || len(m.Values) > 0) {
			t.Fatalf("what is not known says %+v", m)
		}
		for _, v := range m.Values {
			if m.Field != SAddr && m.Field != DAddr {
				continue
			}
			s, ok := parseSpan(v)
			if !ok || !s.first.IsValid() || s.first.Is4() != s.last.Is4() || s.last.Less(s.first) {
				t.Fatalf("%s %q", m.Field, v)
			}
		}
	}
}

// said is a part of a rule: its expressions, and what they say.
type said struct {
	exprs []expr.Any
	match Match
}

func compare(load expr.Any, data []byte, not bool) []expr.Any {
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	return []expr.Any{load, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

func drawMatch(t *rapid.T) said {
	not := rapid.Bool().Draw(t, "not")
	switch rapid.IntRange(0, 5).Draw(t, "match") {
	case 0:
		name := rapid.StringMatching(`[a-z][a-z0-9.-]{0,14}`).Draw(t, "name")
		data := append([]byte(name), make([]byte, unix.IFNAMSIZ-len(name))...)
		return said{compare(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, data, not), Match{Field: IIFName, Not: not, Values: []string{name}}}
	case 1:
		name := rapid.StringMatching(`[a-z][a-z0-9.-]{0,12}`).Draw(t, "beginning")
		return said{compare(&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, []byte(name), not), Match{Field: OIFName, Not: not, Values: []string{name + "*"}}}
	case 2:
		p := drawPrefix(t)
		bytes := rapid.IntRange(1, 4).Draw(t, "bytes")
		whole := netip.PrefixFrom(p.Addr(), 8*bytes).Masked()
		load := &expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: uint32(bytes), DestRegister: 1}
		return said{compare(load, whole.Addr().AsSlice()[:bytes], not), Match{Field: SAddr, Not: not, Values: []string{whole.String()}}}
	case 3:
		p := drawPrefix(t)
		load := &expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4, DestRegister: 1}
		exprs := compare(load, p.Addr().AsSlice(), not)
		mask := netMask(p.Bits())
		exprs = slices.Insert(exprs, 1, expr.Any(&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)}))
		return said{exprs, Match{Field: DAddr, Not: not, Values: []string{p.String()}}}
	case 4:
		state := rapid.SampledFrom([]uint32{1, 2, 4, 8, 64, 6, 14}).Draw(t, "states")
		mask := binary.NativeEndian.AppendUint32(nil, state)
		exprs := []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}}
		return said{exprs, Match{Field: CTState, Values: bits(CTState, state)}}
	}
	return said{compare(&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, []byte{1, 0, 0, 0}, not), Match{}}
}

func drawPrefix(t *rapid.T) netip.Prefix {
	b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(b)), rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
}

func netMask(bits int) []byte {
	return binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-bits))
}

// ruleIsRead: a rule of the family ip says what its parts say.
func ruleIsRead(t *rapid.T) {
	var exprs []expression
	add := func(name string, e expr.Any) {
		data, err := expr.MarshalExprData(byte(nft.IPv4), e)
		if err != nil {
			t.Fatal(err)
		}
		exprs = append(exprs, expression{name, data})
	}
	var want Rule
	other := false
	for range rapid.IntRange(0, 4).Draw(t, "matches") {
		s := drawMatch(t)
		for _, e := range s.exprs {
			add(strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", e), "*expr.")), e)
		}
		if s.match.Field != Other || !other { // once is enough
			want.Matches = append(want.Matches, s.match)
		}
		other = other || s.match.Field == Other
	}
	kind := rapid.SampledFrom([]expr.VerdictKind{expr.VerdictAccept, expr.VerdictDrop, expr.VerdictReturn, expr.VerdictJump, expr.VerdictGoto}).Draw(t, "verdict")
	v := &expr.Verdict{Kind: kind}
	if want.Verdict = verdictOf(kind); kind == expr.VerdictJump || kind == expr.VerdictGoto {
		v.Chain = "somewhere"
	}
	want.Chain = v.Chain
	add("counter", &expr.Counter{})
	add("immediate", v)
	d := decoder{family: nft.IPv4}
	got, err := d.decode(exprs)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Fatalf("%v is read as %v, %v", want, got, err)
	}
}

// FuzzFiles: the resolver file, the kernel's list of netlink sockets, the entries of iptables-legacy, and spans as rules have them.
func FuzzFiles(f *testing.F) {
	for _, seed := range []string{
		"", "nameserver 10.0.0.2\n", "nameserver fe80::1%eth0\r\n", "nameserver ::ffff:10.0.0.2", "nameserver 10.0.0.2#x\nnameserver ;\n",
		"nameserver\x00 10.0.0.2\n", "nameserver \xff\xfe\n", "nameserver 10.0.0.2\rnameserver 10.0.0.3", "nameserver 1.2.3.4%lo\n",
		"options edns0\nsearch .\n\n\nnameserver\u00a010.0.0.2", "nameserver 010.0.0.1",
		"sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n0000000000000000 12  4711       00000000 0        0        0     2        0        28113\n",
		"10.0.0.0/8", "10.0.0.1-10.0.0.9", "fd00::/64", "::1-::2", "0.0.0.0/0", "10.0.0.9-10.0.0.1", "10.0.0.1-::", "::ffff:1.2.3.4/120",
	} {
		f.Add([]byte(seed))
	}
	f.Add(append(make([]byte, 112), 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := slices.Clone(b)
		readsNameservers(t, b)
		readsSpan(t, string(b))
		inode := netfilterInode(string(b), 4711)
		if again := netfilterInode("0 12 4711 0 0 0 0 2 0 "+inode, 4711); again != inode || inode != "" && !bytes.Contains(b, []byte(inode)) {
			t.Fatalf("the inode is %q, and then %q", inode, again)
		}
		readsLegacy(t, b)
		if !slices.Equal(before, b) {
			t.Fatal("the input was changed")
		}
	})
}

// readsNameservers: what comes out is an address that the file spells, without zone.
func readsNameservers(t *testing.T, b []byte) {
	servers := parseNameservers(b)
	if n := bytes.Count(b, []byte("nameserver")); len(servers) > n {
		t.Fatalf("%d servers of %d lines", len(servers), n)
	}
	for _, s := range servers {
		if !s.IsValid() || s.Zone() != "" || s.Is4In6() {
			t.Fatalf("%v is none to compare a prefix with", s)
		}
		if again := parseNameservers([]byte("nameserver " + s.String())); !slices.Equal(again, []netip.Addr{s}) {
			t.Fatalf("%v reads back as %v", s, again)
		}
	}
}

// readsSpan: a span is of one family and not backwards, and contains what it was read from.
func readsSpan(t *testing.T, text string) {
	s, ok := parseSpan(text)
	if !ok || strings.Contains(text, "%") { // nft writes no zones
		return
	}
	if s.first.Is4() != s.last.Is4() || s.last.Less(s.first) {
		t.Fatalf("%q is from %v to %v", text, s.first, s.last)
	}
	if again, ok := parseSpan(s.first.String() + "-" + s.last.String()); !ok || again != s {
		t.Fatalf("%q is %v, and again %v", text, s, again)
	}
	for _, a := range []netip.Addr{s.first, s.last} {
		if p := netip.PrefixFrom(a, a.BitLen()); !s.contains(p) || !s.overlaps(p) {
			t.Fatalf("%q does not contain %v", text, a)
		}
	}
}

// readsLegacy: a policy is read inside the entries, or not at all.
func readsLegacy(t *testing.T, b []byte) {
	x := xtables{entry: 112, offsets: 84}
	at := 0
	if len(b) > 2 {
		at = int(int16(binary.NativeEndian.Uint16(b)))
	}
	_, err := x.verdict(b, at)
	if err == nil && (at < 0 || at+x.entry+targetSize+4 > len(b)+x.entry) {
		t.Fatalf("%d bytes have a verdict at %d", len(b), at)
	}
	for want, code := range map[Verdict]int32{Drop: -1, Accept: -2} {
		entries := make([]byte, len(b)+x.entry, len(b)+x.entry+targetSize+4)
		binary.NativeEndian.PutUint16(entries[len(b)+x.offsets+4:], uint16(x.entry))
		entries = binary.NativeEndian.AppendUint32(append(entries, make([]byte, targetSize)...), uint32(code))
		if got, err := x.verdict(entries, len(b)); got != want || err != nil {
			t.Fatalf("%s is read as %s, %v", want, got, err)
		}
	}
}
