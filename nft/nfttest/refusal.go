// Package nfttest makes kernels with less, for tests of what is done without: each function refuses what one kind of kernel does not
// have, with the error of such a kernel. They go into [nft.Options], field Refuse.
//
// What they answer was read in net/netfilter/nf_tables_api.c and nfnetlink.c of the versions that they name.
package nfttest

import (
	"bytes"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/nft"
)

// A Refusal says by which error a kernel refuses a message; 0: it takes it.
type Refusal = func(nft.Message) unix.Errno

// Any is a kernel that lacks what each of these lacks: the first that refuses is the answer.
func Any(refusals ...Refusal) Refusal {
	return func(m nft.Message) unix.Errno {
		for _, r := range refusals {
			if errno := r(m); errno != 0 {
				return errno
			}
		}
		return 0
	}
}

// NoNFTables is a kernel without CONFIG_NF_TABLES: nobody answers to the subsystem.
func NoNFTables(nft.Message) unix.Errno { return unix.EINVAL }

// NoFamily is a kernel without the tables of a family (CONFIG_NF_TABLES_INET, CONFIG_NF_TABLES_BRIDGE), since Linux 6.7.
func NoFamily(family nft.Family) Refusal {
	return func(m nft.Message) unix.Errno {
		if m.Type == unix.NFT_MSG_NEWTABLE && m.Family == family {
			return unix.EOPNOTSUPP
		}
		return 0
	}
}

// NoFamilyHooks is a kernel without the tables of a family, from Linux 4.16 to 6.6: it makes the table, and has no type for its base
// chains.
func NoFamilyHooks(family nft.Family) Refusal {
	return func(m nft.Message) unix.Errno {
		if m.Type == unix.NFT_MSG_NEWCHAIN && m.Family == family && attribute(m.Attributes, unix.NFTA_CHAIN_TYPE) != nil {
			return unix.ENOENT
		}
		return 0
	}
}

// NoTableFlags is a kernel that does not know these flags of tables (enum nft_table_flags): owner came with Linux 5.12, persist with
// 6.9.
func NoTableFlags(flags uint32) Refusal {
	return func(m nft.Message) unix.Errno {
		if m.Type == unix.NFT_MSG_NEWTABLE && number(m.Attributes, unix.NFTA_TABLE_FLAGS)&flags != 0 {
			return unix.EOPNOTSUPP
		}
		return 0
	}
}

// The flags of tables that matter.
const (
	Owner   uint32 = 0x2 // NFT_TABLE_F_OWNER
	Persist uint32 = 0x4 // NFT_TABLE_F_PERSIST
)

// NoChainType is a kernel without base chains of a type, as "nat" (CONFIG_NFT_NAT).
func NoChainType(name string) Refusal {
	return func(m nft.Message) unix.Errno {
		if m.Type == unix.NFT_MSG_NEWCHAIN && text(attribute(m.Attributes, unix.NFTA_CHAIN_TYPE)) == name {
			return unix.ENOENT
		}
		return 0
	}
}

// NoExpression is a kernel without an expression of rules and of set elements, as "fib" (CONFIG_NFT_FIB_INET) or "limit"
// (CONFIG_NFT_LIMIT).
func NoExpression(name string) Refusal {
	return func(m nft.Message) unix.Errno {
		if slices.Contains(Expressions(m), name) {
			return unix.ENOENT
		}
		return 0
	}
}

// Expressions are the names of the expressions of the rule that a message adds, or of the elements of the set.
func Expressions(m nft.Message) []string {
	const setExpr = 17 // NFTA_SET_EXPR
	var names []string
	switch m.Type {
	case unix.NFT_MSG_NEWRULE:
		for _, e := range attributes(attribute(m.Attributes, unix.NFTA_RULE_EXPRESSIONS)) {
			names = append(names, text(attribute(e.Data, unix.NFTA_EXPR_NAME)))
		}
	case unix.NFT_MSG_NEWSET:
		if e := attribute(m.Attributes, setExpr); e != nil {
			names = append(names, text(attribute(e, unix.NFTA_EXPR_NAME)))
		}
	}
	return names
}

// attributes are those of a message or of a nested attribute; none where they can't be read.
func attributes(b []byte) []netlink.Attribute {
	all, _ := netlink.UnmarshalAttributes(b)
	return all
}

// attribute is the value of the first of that kind; nil when there is none.
func attribute(b []byte, kind uint16) []byte {
	for _, a := range attributes(b) {
		if a.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return a.Data
		}
	}
	return nil
}

func text(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }

// number is in network byte order.
func number(b []byte, kind uint16) (n uint32) {
	for _, d := range attribute(b, kind) {
		n = n<<8 | uint32(d)
	}
	return n
}
