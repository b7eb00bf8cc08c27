package nft

import (
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernelRule is a rule as the kernel lists it.
type kernelRule struct {
	chain    string
	exprs    []expr.Any
	userdata []byte
}

// kernelRules reads the rules of a table over a socket of its own, and its anonymous sets through the library.
func kernelRules(tb testing.TB, id TableID) ([]kernelRule, map[string]anonymousSet) {
	tb.Helper()
	var rules []kernelRule
	for _, attrs := range kernelDump(tb, unix.NFT_MSG_GETRULE, id) {
		exprs, err := parseExpressions(id.Family, find(attrs, unix.NFTA_RULE_EXPRESSIONS))
		if err != nil {
			tb.Fatal(err)
		}
		rules = append(rules, kernelRule{cString(find(attrs, unix.NFTA_RULE_CHAIN)), exprs, find(attrs, unix.NFTA_RULE_USERDATA)})
	}
	return rules, kernelAnonymousSets(tb, id)
}

// kernelDump lists objects of a table: the attributes of each.
func kernelDump(tb testing.TB, get uint16, id TableID) [][]byte {
	tb.Helper()
	conn := must(netlink.Dial(unix.NETLINK_NETFILTER, nil))(tb)
	defer conn.Close()
	name := must(netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(id.Name), 0)}}))(tb)
	msgs := must(conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | get), Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{byte(id.Family), 0, 0, 0}, name...),
	}))(tb)
	var objects [][]byte
	for _, m := range msgs {
		objects = append(objects, m.Data[4:])
	}
	return objects
}

func kernelAnonymousSets(tb testing.TB, id TableID) map[string]anonymousSet {
	tb.Helper()
	conn := must(nftables.New())(tb)
	table := &nftables.Table{Family: nftables.TableFamily(id.Family), Name: id.Name}
	anonymous := make(map[string]anonymousSet)
	for _, s := range must(conn.GetSets(table))(tb) {
		if !s.Anonymous {
			continue
		}
		var set anonymousSet
		for _, e := range must(conn.GetSetElements(s))(tb) {
			element := anonymousElement{key: Raw(e.Key)}
			if s.IsMap {
				element.verdict = kernelVerdict(tb, e.Val)
			}
			set.elements = append(set.elements, element)
		}
		anonymous[s.Name] = set
	}
	return anonymous
}

// kernelVerdict reads the data of a verdict map's element, which the library leaves as attributes.
func kernelVerdict(tb testing.TB, data []byte) Verdict {
	tb.Helper()
	v, err := verdictOf(&expr.Verdict{
		Kind:  expr.VerdictKind(int32(bigEndian(find(data, unix.NFTA_VERDICT_CODE)))),
		Chain: cString(find(data, unix.NFTA_VERDICT_CHAIN)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// must is what a call gave, or the end of the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}
