package nft

import (
	"context"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// observation reads one table.
type observation struct {
	reader *reader
	ctx    context.Context
	table  Table
	// count is about how many elements the sets have, as far as the kernel tells.
	count int
	// elements takes those of all named sets, also of tables read before.
	elements *Inventory
	// anonymous sets by name: a rule refers to them.
	anonymous map[string]anonymousSet
}

// foreign records what can't be in a program of ours.
func (o *observation) foreign(format string, args ...any) {
	o.table.Foreign = append(o.table.Foreign, fmt.Sprintf(format, args...))
}

// observe reads what is in the table; its sets were listed before.
func (o *observation) observe() error {
	for _, part := range []func() error{o.namedSets, o.chains, o.rules, o.others} {
		if err := part(); err != nil {
			return o.named(err)
		}
	}
	return nil
}

// named says which table the error is about.
func (o *observation) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("table %s: %w", o.table.ID, err)
}

// dump lists objects of the table. Its name is attribute 1 in all messages.
func (o *observation) dump(typ uint16, attrs func(*batch), f func(attrs []byte) error) error {
	request := func(b *batch) {
		b.str(unix.NFTA_TABLE_NAME, o.table.ID.Name)
		if attrs != nil {
			attrs(b)
		}
	}
	return o.reader.dump(o.ctx, typ, o.table.ID.Family, request, func(_ Family, attrs []byte) error {
		if cString(find(attrs, unix.NFTA_TABLE_NAME)) != o.table.ID.Name { // some lists are of all tables
			return nil
		}
		return f(attrs)
	})
}

// sets lists the sets without their elements.
func (o *observation) sets() error {
	const setCount = 20 // NFTA_SET_COUNT; Linux 6.15
	return o.dump(unix.NFT_MSG_GETSET, nil, func(attrs []byte) error {
		o.count += int(bigEndian(find(attrs, setCount)))
		name := cString(find(attrs, unix.NFTA_SET_NAME))
		if bigEndian(find(attrs, unix.NFTA_SET_FLAGS))&unix.NFT_SET_ANONYMOUS != 0 {
			o.anonymous[name] = anonymousSet{
				name:       name,
				keyType:    bigEndian(find(attrs, unix.NFTA_SET_KEY_TYPE)),
				keyLen:     bigEndian(find(attrs, unix.NFTA_SET_KEY_LEN)),
				verdictMap: bigEndian(find(attrs, unix.NFTA_SET_DATA_TYPE)) == unix.NFT_DATA_VERDICT,
			}
			return nil
		}
		s, ok := decodeSet(attrs)
		if !ok {
			o.foreign("set %s", name)
			return nil
		}
		o.table.Sets = append(o.table.Sets, s)
		return nil
	})
}

// decodeSet is false when the set is none that a Set can say.
func decodeSet(attrs []byte) (Set, bool) {
	flags := bigEndian(find(attrs, unix.NFTA_SET_FLAGS))
	s := Set{
		Name:     cString(find(attrs, unix.NFTA_SET_NAME)),
		Key:      decodeTypes(bigEndian(find(attrs, unix.NFTA_SET_KEY_TYPE))),
		Interval: flags&unix.NFT_SET_INTERVAL != 0,
		Size:     bigEndian(find(find(attrs, unix.NFTA_SET_DESC), unix.NFTA_SET_DESC_SIZE)),
	}
	if flags&unix.NFT_SET_MAP != 0 {
		s.Data = decodeTypes(bigEndian(find(attrs, unix.NFTA_SET_DATA_TYPE)))
	}
	known := s.decodeExpressions(attrs)
	return s, known && len(s.Key) > 0 && s.keyLen() <= MaxValue && s.dataLen() <= MaxValue && flags == s.flags() && bigEndian(find(attrs, unix.NFTA_SET_KEY_LEN)) == s.keyLen() &&
		bigEndian(find(attrs, unix.NFTA_SET_DATA_LEN)) == s.dataLen()
}

// decodeTypes are a key's or data's fields; nil when one of them is unknown.
func decodeTypes(magic uint32) []Type {
	var types []Type
	for ; magic != 0; magic >>= typeBits {
		t := decodeType(magic & (1<<typeBits - 1))
		if t == 0 {
			return nil
		}
		types = append([]Type{t}, types...)
	}
	return types
}

func decodeType(magic uint32) Type {
	for t := TypeIfName; t <= TypeTarget; t++ {
		if t.info().magic == magic {
			return t
		}
	}
	return 0
}

// decodeExpressions reads what each element carries: one counter or one limit, or nothing.
func (s *Set) decodeExpressions(attrs []byte) (known bool) {
	const setExpressions = 18 // NFTA_SET_EXPRESSIONS: several
	e := find(attrs, setExpr)
	if e == nil {
		return find(attrs, setExpressions) == nil
	}
	data := find(e, unix.NFTA_EXPR_DATA)
	switch cString(find(e, unix.NFTA_EXPR_NAME)) {
	case "counter":
		s.Counter = true
	case "limit":
		var l expr.Limit
		if expr.Unmarshal(byte(Inet), data, &l) != nil || l.Type != expr.LimitTypePkts || !l.Over || l.Unit != expr.LimitTimeSecond ||
			l.Burst != limitBurst {
			return false
		}
		s.LimitOverPerSecond = l.Rate
	default:
		return false
	}
	return true
}

// namedSets reads the elements of all sets.
func (o *observation) namedSets() error {
	for i := range o.table.Sets {
		if err := o.namedSet(&o.table.Sets[i]); err != nil {
			return err
		}
	}
	for name, s := range o.anonymous {
		err := o.listElements(name, func(e *elementAttributes) {
			if !e.foreign && !e.intervalEnd {
				s.elements = append(s.elements, anonymousElement{key: Raw(e.key), verdict: e.verdict})
			}
		})
		if err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		o.anonymous[name] = s
	}
	return nil
}

// chains lists the chains without their rules.
func (o *observation) chains() error {
	const chainFlags, chainBase = 10, 1 // NFTA_CHAIN_FLAGS, NFT_CHAIN_BASE
	return o.dump(unix.NFT_MSG_GETCHAIN, nil, func(attrs []byte) error {
		c := Chain{Name: cString(find(attrs, unix.NFTA_CHAIN_NAME))}
		if flags := bigEndian(find(attrs, chainFlags)); flags&^chainBase != 0 {
			o.foreign("chain %s: flags %#x", c.Name, flags)
		}
		if hook := find(attrs, unix.NFTA_CHAIN_HOOK); hook != nil {
			c.Hook = &Hook{
				Type:     ChainType(cString(find(attrs, unix.NFTA_CHAIN_TYPE))),
				Point:    HookPoint(bigEndian(find(hook, unix.NFTA_HOOK_HOOKNUM))),
				Priority: int32(bigEndian(find(hook, unix.NFTA_HOOK_PRIORITY))),
			}
			if policy := bigEndian(find(attrs, unix.NFTA_CHAIN_POLICY)); policy != policyAccept {
				o.foreign("chain %s: policy %d", c.Name, policy)
			}
		}
		o.table.Chains = append(o.table.Chains, c)
		return nil
	})
}

// rules lists the rules of all chains, in order.
func (o *observation) rules() error {
	return o.dump(unix.NFT_MSG_GETRULE, nil, func(attrs []byte) error {
		c := o.table.chain(cString(find(attrs, unix.NFTA_RULE_CHAIN)))
		if c == nil { // it came between two lists
			return errChanged
		}
		// A rule that can't be decoded comes as one that no program of ours has: it is seen, and replaced with the others.
		r, err := o.rule(attrs)
		if err != nil && len(r) == 0 {
			r = Rule{Unknown(err.Error())}
		}
		c.Rules = append(c.Rules, r)
		return nil
	})
}

func (o *observation) rule(attrs []byte) (Rule, error) {
	exprs, err := parseExpressions(o.table.ID.Family, find(attrs, unix.NFTA_RULE_EXPRESSIONS))
	if err != nil {
		return nil, err
	}
	return decodeRule(&o.table, exprs, find(attrs, unix.NFTA_RULE_USERDATA), o.anonymous)
}

// others finds what programs of ours never have: stateful objects, flow tables.
func (o *observation) others() error {
	const objName, flowtableName = 2, 2
	for _, kind := range []struct {
		what string
		typ  uint16
	}{{"object", unix.NFT_MSG_GETOBJ}, {"flowtable", unix.NFT_MSG_GETFLOWTABLE}} {
		err := o.dump(kind.typ, nil, func(attrs []byte) error {
			o.foreign("%s %s", kind.what, cString(find(attrs, objName)))
			return nil
		})
		if err != nil {
			return fmt.Errorf("%ss: %w", kind.what, err)
		}
	}
	return nil
}
