package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Table flags of linux/netfilter/nf_tables.h.
const (
	tableOwner   = 0x2
	tablePersist = 0x4
)

// Attributes that x/sys does not have.
const (
	setDescConcat = 2  // NFTA_SET_DESC_CONCAT
	setExpr       = 17 // NFTA_SET_EXPR
	setFieldLen   = 1  // NFTA_SET_FIELD_LEN
	setConcat     = 0x80
)

// transaction appends the changes of tx, the tx-th transaction of the batch.
func (b *batch) transaction(i int, tx *Tx, tableFlags uint32) error {
	for j := range tx.del {
		if err := b.elements(i, &tx.del[j], true); err != nil {
			return err
		}
	}
	for j := range tx.ops {
		if err := b.program(i, &tx.ops[j], tableFlags); err != nil {
			return err
		}
	}
	for j := range tx.add {
		if err := b.elements(i, &tx.add[j], false); err != nil {
			return err
		}
	}
	return nil
}

// program appends one change of the program.
func (b *batch) program(i int, o *op, tableFlags uint32) error {
	m := message{tx: i, kind: o.kind, table: o.table.ID, set: o.set, rule: o.rule}
	if o.chain != nil {
		m.object = o.chain.Name
	} else if o.set != nil {
		m.object = o.set.Name
	}
	switch o.kind {
	case takeTable:
		if tableFlags != 0 {
			b.newTable(m, tableFlags)
		}
	case addTable:
		b.newTable(m, tableFlags)
	case deleteTable:
		b.named(unix.NFT_MSG_DELTABLE, writeFlags, m)
		b.end()
	case addSet:
		b.newSet(m, o.set)
	case deleteSet:
		b.named(unix.NFT_MSG_DELSET, writeFlags, m)
		b.str(unix.NFTA_SET_NAME, o.set.Name)
		b.end()
	case addChain:
		b.newChain(m, o.chain)
	case deleteChain:
		b.named(unix.NFT_MSG_DELCHAIN, writeFlags, m)
		b.str(unix.NFTA_CHAIN_NAME, o.chain.Name)
		b.end()
	case addRule:
		return b.newRule(m, o.table)
	case deleteRules:
		b.named(unix.NFT_MSG_DELRULE, writeFlags, m)
		b.end()
	}
	return nil
}

// named starts a message whose first attribute is the table's name: it has the number 1 in all of them.
func (b *batch) named(typ, flags uint16, m message) {
	b.message(typ, flags, m)
	b.str(unix.NFTA_TABLE_NAME, m.table.Name)
}

// newTable creates a table, or takes over one that is there.
func (b *batch) newTable(m message, tableFlags uint32) {
	flags := uint16(createFlags)
	if m.kind == takeTable {
		flags = writeFlags
	}
	b.named(unix.NFT_MSG_NEWTABLE, flags, m)
	b.uint32(unix.NFTA_TABLE_FLAGS, tableFlags)
	b.end()
}

// flags is NFTA_SET_FLAGS.
func (s *Set) flags() uint32 {
	var flags uint32
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.IsMap() {
		flags |= unix.NFT_SET_MAP
	}
	if s.concatenated() {
		flags |= setConcat
	}
	return flags
}

// newSet declares a named set the way nft does.
func (b *batch) newSet(m message, s *Set) {
	b.setID++
	b.named(unix.NFT_MSG_NEWSET, createFlags, m)
	b.str(unix.NFTA_SET_NAME, s.Name)
	b.uint32(unix.NFTA_SET_FLAGS, s.flags())
	b.uint32(unix.NFTA_SET_KEY_TYPE, s.keyType())
	b.uint32(unix.NFTA_SET_KEY_LEN, s.keyLen())
	if s.IsMap() {
		b.uint32(unix.NFTA_SET_DATA_TYPE, s.dataType())
		b.uint32(unix.NFTA_SET_DATA_LEN, s.dataLen())
	}
	b.uint32(unix.NFTA_SET_ID, b.setID)
	b.setDesc(s.Size, s.keyFieldLens())
	b.bytes(unix.NFTA_SET_USERDATA, s.userdata())
	b.setExpressions(s)
	b.end()
}

func (b *batch) setDesc(size uint32, fields []uint8) {
	if size == 0 && len(fields) == 0 {
		return
	}
	desc := b.nest(unix.NFTA_SET_DESC)
	if size > 0 {
		b.uint32(unix.NFTA_SET_DESC_SIZE, size)
	}
	if len(fields) > 0 {
		concat := b.nest(setDescConcat)
		for _, n := range fields {
			field := b.nest(unix.NFTA_LIST_ELEM)
			b.uint32(setFieldLen, uint32(n))
			b.unnest(field)
		}
		b.unnest(concat)
	}
	b.unnest(desc)
}

// setExpressions declares what each element carries.
func (b *batch) setExpressions(s *Set) {
	var e expr.Any
	switch {
	case s.Counter:
		e = &expr.Counter{}
	case s.LimitOverPerSecond > 0:
		e = &expr.Limit{Type: expr.LimitTypePkts, Rate: s.LimitOverPerSecond, Unit: expr.LimitTimeSecond, Burst: limitBurst, Over: true}
	default:
		return
	}
	data, err := expr.Marshal(byte(Inet), e)
	if err != nil {
		return
	}
	b.bytes(setExpr|nested, data)
}

// limitBurst is nft's default.
const limitBurst = 5

func (b *batch) newChain(m message, c *Chain) {
	b.named(unix.NFT_MSG_NEWCHAIN, createFlags, m)
	b.str(unix.NFTA_CHAIN_NAME, c.Name)
	if c.Hook != nil {
		hook := b.nest(unix.NFTA_CHAIN_HOOK)
		b.uint32(unix.NFTA_HOOK_HOOKNUM, uint32(c.Hook.Point))
		b.uint32(unix.NFTA_HOOK_PRIORITY, uint32(c.Hook.Priority))
		b.unnest(hook)
		b.uint32(unix.NFTA_CHAIN_POLICY, policyAccept)
		b.str(unix.NFTA_CHAIN_TYPE, string(c.Hook.Type))
	}
	b.end()
}

const policyAccept = 1 // NF_ACCEPT

// newRule appends the rule's anonymous sets and the rule.
func (b *batch) newRule(m message, t *Table) error {
	r, err := encodeRule(t, m.rule, b.setID+1)
	if err != nil {
		return fmt.Errorf("chain %s %s: %w", t.ID, m.object, err)
	}
	for i := range r.sets {
		b.newAnonymousSet(m, &r.sets[i])
	}
	b.named(unix.NFT_MSG_NEWRULE, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_APPEND, m)
	b.str(unix.NFTA_RULE_CHAIN, m.object)
	list := b.nest(unix.NFTA_RULE_EXPRESSIONS)
	for _, e := range r.exprs {
		data, err := expr.Marshal(byte(t.ID.Family), e)
		if err != nil {
			return fmt.Errorf("chain %s %s: %w", t.ID, m.object, err)
		}
		b.bytes(unix.NFTA_LIST_ELEM|nested, data)
	}
	b.unnest(list)
	if len(r.userdata) > 0 {
		b.bytes(unix.NFTA_RULE_USERDATA, r.userdata)
	}
	b.end()
	return nil
}

// newAnonymousSet declares and fills a set of one rule.
func (b *batch) newAnonymousSet(m message, s *anonymousSet) {
	b.setID = max(b.setID, s.id)
	flags := uint32(unix.NFT_SET_ANONYMOUS | unix.NFT_SET_CONSTANT)
	if s.verdictMap {
		flags |= unix.NFT_SET_MAP
	}
	b.named(unix.NFT_MSG_NEWSET, unix.NLM_F_REQUEST|unix.NLM_F_CREATE, m)
	b.str(unix.NFTA_SET_NAME, s.name)
	b.uint32(unix.NFTA_SET_FLAGS, flags)
	b.uint32(unix.NFTA_SET_KEY_TYPE, s.keyType)
	b.uint32(unix.NFTA_SET_KEY_LEN, s.keyLen)
	if s.verdictMap {
		b.uint32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT)
		b.uint32(unix.NFTA_SET_DATA_LEN, 0)
	}
	b.uint32(unix.NFTA_SET_ID, s.id)
	b.setDesc(uint32(len(s.elements)), nil)
	b.bytes(unix.NFTA_SET_USERDATA, s.userdata)
	b.end()

	b.message(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_REQUEST|unix.NLM_F_CREATE, m)
	b.str(unix.NFTA_SET_ELEM_LIST_TABLE, m.table.Name)
	b.str(unix.NFTA_SET_ELEM_LIST_SET, s.name)
	b.uint32(unix.NFTA_SET_ELEM_LIST_SET_ID, s.id)
	list := b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	for i := range s.elements {
		e := &s.elements[i]
		elem := b.nest(unix.NFTA_LIST_ELEM)
		b.value(unix.NFTA_SET_ELEM_KEY, e.key.b[:e.key.n])
		if s.verdictMap {
			data := b.nest(unix.NFTA_SET_ELEM_DATA)
			b.verdict(e.verdict)
			b.unnest(data)
		}
		b.unnest(elem)
	}
	b.unnest(list)
	b.end()
}

func (b *batch) verdict(v Verdict) {
	verdict := b.nest(unix.NFTA_DATA_VERDICT)
	b.uint32(unix.NFTA_VERDICT_CODE, uint32(verdictKinds[v.Kind]))
	if v.Chain != "" {
		b.str(unix.NFTA_VERDICT_CHAIN, v.Chain)
	}
	b.unnest(verdict)
}
