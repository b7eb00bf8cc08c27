package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// parseExpressions reads NFTA_RULE_EXPRESSIONS. An expression that no rule of ours has is an error that names it: the library would
// skip it, and the rule would seem to be another.
func parseExpressions(family Family, list []byte) ([]expr.Any, error) {
	var exprs []expr.Any
	var typ uint16
	var elem []byte
	for a := attributes(list); a.next(&typ, &elem); {
		name, data := cString(find(elem, unix.NFTA_EXPR_NAME)), find(elem, unix.NFTA_EXPR_DATA)
		e, err := parseExpression(family, name, data)
		if err != nil {
			return nil, fmt.Errorf("expression %q: %w", name, err)
		}
		exprs = append(exprs, e)
	}
	return exprs, nil
}

func parseExpression(family Family, name string, data []byte) (expr.Any, error) {
	var e expr.Any
	switch name {
	case "meta":
		e = new(expr.Meta)
	case "ct":
		e = new(expr.Ct)
	case "payload":
		e = new(expr.Payload)
	case "exthdr":
		e = new(expr.Exthdr)
	case "fib":
		e = new(expr.Fib)
	case "cmp":
		e = new(expr.Cmp)
	case "bitwise":
		e = new(expr.Bitwise)
	case "lookup":
		e = new(expr.Lookup)
	case "counter":
		e = new(expr.Counter)
	case "nat":
		e = new(expr.NAT)
	case "masq":
		e = new(expr.Masq)
	case "immediate":
		return parseVerdict(data)
	case "byteorder":
		return &expr.Byteorder{
			SourceRegister: bigEndian(find(data, unix.NFTA_BYTEORDER_SREG)),
			DestRegister:   bigEndian(find(data, unix.NFTA_BYTEORDER_DREG)),
			Op:             expr.ByteorderOp(bigEndian(find(data, unix.NFTA_BYTEORDER_OP))),
			Len:            bigEndian(find(data, unix.NFTA_BYTEORDER_LEN)),
			Size:           bigEndian(find(data, unix.NFTA_BYTEORDER_SIZE)),
		}, nil
	default:
		return nil, errNotOurs
	}
	return e, expr.Unmarshal(byte(family), data, e)
}

// parseVerdict reads an immediate expression, of which ours are verdicts.
func parseVerdict(data []byte) (expr.Any, error) {
	verdict := find(find(data, unix.NFTA_IMMEDIATE_DATA), unix.NFTA_DATA_VERDICT)
	if bigEndian(find(data, unix.NFTA_IMMEDIATE_DREG)) != unix.NFT_REG_VERDICT || verdict == nil {
		return nil, errNotOurs
	}
	return &expr.Verdict{
		Kind:  expr.VerdictKind(int32(bigEndian(find(verdict, unix.NFTA_VERDICT_CODE)))),
		Chain: cString(find(verdict, unix.NFTA_VERDICT_CHAIN)),
	}, nil
}
