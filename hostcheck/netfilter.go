package hostcheck

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
	"github.com/bridged/bridged/nft"
)

// rulesReader reads everybody's tables. It dumps tables, chains and sets as a whole, and the rules of single chains only: a
// list of all rules of a host can be long, and those in the way of forwarded packets are few.
type rulesReader struct {
	conn *netlink.Conn
	// ours are tables whose chains are not read.
	ours map[nft.TableID]bool
	// owned: it is known who has those.
	owned bool
	// links are names by index.
	links map[int]string
}

// errChanged: the ruleset is not what it was when the list began.
var errChanged = errors.New("the ruleset changed while it was read")

// nfgenmsgLen is the size of struct nfgenmsg, which is before the attributes (linux/netfilter/nfnetlink.h).
const nfgenmsgLen = 4

// readAttempts bounds the repetitions of a read that changes disturb.
const readAttempts = 10

// readTables is the tables of the families that see forwarded packets, in the calling thread's network namespace.
func readTables(own Own, links map[int]string) (_ []Table, err error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netfilter socket: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	r := rulesReader{conn, own.tables(), own.Owned, links}
	for range readAttempts {
		tables, err := r.read()
		if err == nil {
			return tables, nil
		}
		if !errors.Is(err, errChanged) {
			return nil, fmt.Errorf("cannot read the nf_tables ruleset: %w", err)
		}
	}
	return nil, fmt.Errorf("cannot read the nf_tables ruleset: %w, %d times", errChanged, readAttempts)
}

// read reads once; errChanged when somebody committed meanwhile.
func (r rulesReader) read() ([]Table, error) {
	before, err := r.generation()
	if err != nil {
		return nil, err
	}
	tables, err := r.tables()
	if err != nil {
		return nil, err
	}
	for i := range tables {
		if r.ours[tables[i].ID] {
			continue
		}
		if err := r.contents(&tables[i]); err != nil {
			return nil, fmt.Errorf("table %v: %w", tables[i].ID, err)
		}
	}
	after, err := r.generation()
	if err == nil && after != before {
		err = errChanged
	}
	return tables, err
}

func (r rulesReader) generation() (uint32, error) {
	var id uint32
	err := r.ask(unix.NFT_MSG_GETGEN, 0, unix.NFPROTO_UNSPEC, nil, func(_ nft.Family, attrs []byte) {
		id = number(attrs, 1) // NFTA_GEN_ID
	})
	return id, err
}

func (r rulesReader) tables() ([]Table, error) {
	const dormant, ownerPort = 1, 7 // NFT_TABLE_F_DORMANT, NFTA_TABLE_OWNER
	var tables []Table
	var owners []uint32
	err := r.ask(unix.NFT_MSG_GETTABLE, netlink.Dump, unix.NFPROTO_UNSPEC, nil, func(f nft.Family, attrs []byte) {
		switch f {
		case nft.IPv4, nft.IPv6, nft.Inet, nft.Bridge:
			tables = append(tables, Table{
				ID:      nft.TableID{Family: f, Name: attribute(attrs, unix.NFTA_TABLE_NAME)},
				Dormant: number(attrs, unix.NFTA_TABLE_FLAGS)&dormant != 0,
			})
			owners = append(owners, number(attrs, ownerPort))
		}
	})
	for i := range tables {
		if owners[i] != 0 && !r.owned && r.ours[tables[i].ID] {
			tables[i].Owner = socketOwner(owners[i])
		}
	}
	return tables, err
}

// contents reads the chains of a table, and the rules of those that forwarded packets come to.
func (r rulesReader) contents(t *Table) error {
	if err := r.chains(t); err != nil {
		return err
	}
	var next []string
	for _, c := range t.Chains {
		if c.forwards() {
			next = append(next, c.Name)
		}
	}
	if next == nil {
		return nil
	}
	d := decoder{family: t.ID.Family, links: r.links}
	d.elements = func(set string) ([]setKey, error) { return r.elements(t.ID, set) }
	var err error
	if d.sets, err = r.sets(t.ID); err != nil {
		return err
	}
	read := make(map[string]bool)
	for len(next) > 0 {
		name := next[0]
		next = next[1:]
		if read[name] {
			continue
		}
		read[name] = true
		rules, err := r.rules(t.ID, name, &d)
		if err != nil {
			return fmt.Errorf("chain %s: %w", name, err)
		}
		for i := range t.Chains {
			if t.Chains[i].Name == name {
				t.Chains[i].Rules = rules
			}
		}
		for _, rule := range rules {
			if rule.Chain != "" {
				next = append(next, rule.Chain)
			}
		}
	}
	return nil
}

func (r rulesReader) chains(t *Table) error {
	return r.list(unix.NFT_MSG_GETCHAIN, t.ID, nil, func(attrs []byte) {
		c := Chain{Name: attribute(attrs, unix.NFTA_CHAIN_NAME)}
		for kind, v := range rtnl.Attributes(attrs) {
			switch kind {
			case unix.NFTA_CHAIN_HOOK:
				c.Hook = &nft.Hook{
					Type:     nft.ChainType(attribute(attrs, unix.NFTA_CHAIN_TYPE)),
					Point:    nft.HookPoint(number(v, unix.NFTA_HOOK_HOOKNUM)),
					Priority: int32(number(v, unix.NFTA_HOOK_PRIORITY)),
				}
			case unix.NFTA_CHAIN_POLICY:
				c.Policy = Accept
				if bigEndian(v) == 0 { // NF_DROP
					c.Policy = Drop
				}
			}
		}
		t.Chains = append(t.Chains, c)
	})
}

func (r rulesReader) sets(id nft.TableID) (map[string]setInfo, error) {
	sets := make(map[string]setInfo)
	err := r.list(unix.NFT_MSG_GETSET, id, nil, func(attrs []byte) {
		flags := number(attrs, unix.NFTA_SET_FLAGS)
		sets[attribute(attrs, unix.NFTA_SET_NAME)] = setInfo{
			named:    flags&unix.NFT_SET_ANONYMOUS == 0,
			interval: flags&unix.NFT_SET_INTERVAL != 0,
		}
	})
	return sets, err
}

func (r rulesReader) rules(id nft.TableID, chain string, d *decoder) ([]Rule, error) {
	var raw [][]expression
	request := []netlink.Attribute{{Type: unix.NFTA_RULE_CHAIN, Data: cString(chain)}}
	err := r.list(unix.NFT_MSG_GETRULE, id, request, func(attrs []byte) {
		var exprs []expression
		for kind, list := range rtnl.Attributes(attrs) {
			if kind != unix.NFTA_RULE_EXPRESSIONS {
				continue
			}
			for _, e := range rtnl.Attributes(list) {
				exprs = append(exprs, expression{attribute(e, unix.NFTA_EXPR_NAME), nested(e, unix.NFTA_EXPR_DATA)})
			}
		}
		raw = append(raw, exprs)
	})
	if err != nil {
		return nil, err
	}
	var rules []Rule
	for _, exprs := range raw {
		more, err := d.decode(exprs)
		if err != nil {
			return nil, err
		}
		rules = append(rules, more...)
	}
	return rules, nil
}

func (r rulesReader) elements(id nft.TableID, set string) ([]setKey, error) {
	var keys []setKey
	request := []netlink.Attribute{{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: cString(set)}}
	err := r.list(unix.NFT_MSG_GETSETELEM, id, request, func(attrs []byte) {
		for _, e := range rtnl.Attributes(nested(attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			k := setKey{
				value: nested(nested(e, unix.NFTA_SET_ELEM_KEY), unix.NFTA_DATA_VALUE),
				end:   number(e, unix.NFTA_SET_ELEM_FLAGS)&unix.NFT_SET_ELEM_INTERVAL_END != 0,
			}
			if v := nested(nested(e, unix.NFTA_SET_ELEM_DATA), unix.NFTA_DATA_VERDICT); v != nil {
				k.verdict, k.chain = verdictIn(v)
			}
			keys = append(keys, k)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", set, err)
	}
	return keys, nil
}

// list dumps objects of one table: its name is attribute 1 in all messages, of the request and of the answers. ENOENT says that
// something that was listed before is gone.
func (r rulesReader) list(typ uint16, id nft.TableID, more []netlink.Attribute, f func(attrs []byte)) error {
	request := append([]netlink.Attribute{{Type: unix.NFTA_TABLE_NAME, Data: cString(id.Name)}}, more...)
	err := r.ask(typ, netlink.Dump, byte(id.Family), request, func(_ nft.Family, attrs []byte) {
		if attribute(attrs, unix.NFTA_TABLE_NAME) == id.Name {
			f(attrs)
		}
	})
	if errors.Is(err, unix.ENOENT) {
		return errChanged
	}
	return err
}

// ask sends a request and hands over what is answered.
func (r rulesReader) ask(typ uint16, flags netlink.HeaderFlags, family byte, attrs []netlink.Attribute, f func(family nft.Family, attrs []byte)) error {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return err
	}
	answers, err := r.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | typ), Flags: netlink.Request | flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, data...),
	})
	if err != nil {
		return err
	}
	for _, m := range answers {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return errChanged
		}
		if len(m.Data) >= nfgenmsgLen {
			f(nft.Family(m.Data[0]), m.Data[nfgenmsgLen:])
		}
	}
	return nil
}

func cString(s string) []byte { return append([]byte(s), 0) }

// nested is what an attribute holds; nil when it is not there.
func nested(b []byte, want uint16) []byte {
	for kind, v := range rtnl.Attributes(b) {
		if kind == want {
			return v
		}
	}
	return nil
}

// number is an attribute of four bytes in network byte order, as those of nf_tables are; 0 when it is not there.
func number(b []byte, want uint16) uint32 { return bigEndian(nested(b, want)) }

func bigEndian(v []byte) uint32 {
	if len(v) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}
