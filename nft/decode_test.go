package nft

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// encoded is a rule's expressions as the kernel lists them, and its anonymous sets by the names that they were given.
func encoded(tb testing.TB, table *Table, r Rule) (list []byte, e encodedRule, anonymous map[string]anonymousSet) {
	tb.Helper()
	e = must(encodeRule(table, r, 7))(tb)
	anonymous = make(map[string]anonymousSet)
	for _, s := range e.sets {
		anonymous[s.name] = s
	}
	var attrs []netlink.Attribute
	for _, x := range e.exprs {
		attrs = append(attrs, netlink.Attribute{Type: unix.NFTA_LIST_ELEM | unix.NLA_F_NESTED, Data: must(expr.Marshal(byte(table.ID.Family), x))(tb)})
	}
	return must(netlink.MarshalAttributes(attrs))(tb), e, anonymous
}

func TestDecodeIsTheInverseOfEncode(t *testing.T) {
	for _, table := range []Table{inetTable(), bridgeTable()} {
		for _, c := range table.Chains {
			for _, r := range c.Rules {
				list, e, anonymous := encoded(t, &table, r)
				exprs := must(parseExpressions(table.ID.Family, list))(t)
				got, err := decodeRule(&table, exprs, e.userdata, anonymous)
				if diff := cmp.Diff(r, got, cmpOptions); err != nil || diff != "" {
					t.Errorf("%s: %v\n%s", table.RuleText(r), err, diff)
				}
			}
		}
	}
}

// What somebody else put into a table of ours is shown, and never taken for one of our rules.
func TestForeignRules(t *testing.T) {
	table := inetTable()
	for _, c := range []struct {
		what  string
		exprs []expr.Any
	}{
		{"a quota", []expr.Any{&expr.Quota{Bytes: 7}, &expr.Verdict{Kind: expr.VerdictDrop}}},
		{"a load without use", []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}}},
		{"a comparison of nothing", []expr.Any{&expr.Cmp{Register: 1, Data: []byte{1}}}},
		{"a register of its own", []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: 2}, &expr.Cmp{Register: 2, Data: []byte{1, 0, 0, 0}}}},
		{"a meta key that we do not have", []expr.Any{&expr.Meta{Key: expr.MetaKeySKUID, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{1, 0, 0, 0}}}},
		{"an unknown set", []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Lookup{SourceRegister: 1, SetName: "nobody"}}},
		{"a jump to nowhere", []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: "nowhere"}}},
		{"a question without need", []expr.Any{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{8, 0}}, &expr.Counter{}}},
		{"ct state != two states", []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{6, 0, 0, 0}}}},
		{"more than a value", []expr.Any{&expr.Payload{Base: expr.PayloadBaseLLHeader, Len: 99, DestRegister: 1}, &expr.Cmp{Register: 1, Data: make([]byte, 99)}}},
		{"nothing", nil},
	} {
		r, err := decodeRule(&table, c.exprs, []byte{0, 3, 'h', 'i', 0}, nil)
		if err == nil {
			t.Errorf("%s is taken for %s", c.what, table.RuleText(r))
		}
		if text := table.RuleText(r); !strings.HasPrefix(text, "# ") || !strings.HasSuffix(text, `comment "hi"`) {
			t.Errorf("%s is shown as %s", c.what, text)
		}
	}
}
