package nft

import (
	"errors"

	"github.com/google/nftables/expr"
)

// encodedRule is a rule as the kernel takes it.
type encodedRule struct {
	exprs    []expr.Any // NFTA_RULE_EXPRESSIONS
	userdata []byte     // NFTA_RULE_USERDATA: the comment; nil without one
	// sets have to be created in the same batch before the rule, whose lookups refer to them by id.
	sets []anonymousSet
}

// anonymousSet is a constant set that belongs to one rule and goes with it: icmp type { … }, or a verdict map.
// Flags: NFT_SET_ANONYMOUS | NFT_SET_CONSTANT, and NFT_SET_MAP for a verdict map.
type anonymousSet struct {
	name string // "__set%d" or "__map%d": the kernel fills in a number
	id   uint32 // NFTA_SET_ID, NFTA_SET_ELEM_LIST_SET_ID, NFTA_LOOKUP_SET_ID
	// keyType and keyLen are NFTA_SET_KEY_TYPE and NFTA_SET_KEY_LEN. Keys are single fields.
	keyType, keyLen uint32
	// verdictMap: NFTA_SET_DATA_TYPE is NFT_DATA_VERDICT (0xffffff00), NFTA_SET_DATA_LEN is 0, and every element has a
	// verdict.
	verdictMap bool
	userdata   []byte // NFTA_SET_USERDATA
	// elements are sorted by key; NFTA_SET_DESC_SIZE is their number.
	elements []anonymousElement
}

// anonymousElement is one element of an anonymousSet.
type anonymousElement struct {
	key     Value
	verdict Verdict // in a verdict map; else the zero Verdict
}

// encodeRule lowers a rule of t to expressions, in the way nft does. Its anonymous sets get the ids setID, setID+1, …, which
// must be unique in the batch.
func encodeRule(t *Table, r Rule, setID uint32) (encodedRule, error) {
	return encodedRule{}, errors.New("not written yet")
}
