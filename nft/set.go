package nft

import "encoding/binary"

// Types of the attributes in a set's user data (libnftnl's udata.h), which the kernel keeps and nft reads to print a set
// the way it was declared.
const (
	udataSetKeyByteOrder  = 0
	udataSetDataByteOrder = 1
	udataSetKeyTypeof     = 3
	udataSetDataTypeof    = 4
	udataSetDataInterval  = 6

	udataRuleComment = 0 // of a rule's user data

	udataTypeofExpr = 0
	udataTypeofData = 1
)

// typeBits is what each field has in the type of a concatenation.
const typeBits = 6

// IsMap reports whether s gives data for a key.
func (s *Set) IsMap() bool { return len(s.Data) > 0 }

// keyType is NFTA_SET_KEY_TYPE.
func (s *Set) keyType() uint32 { return magicOf(s.Key) }

// dataType is NFTA_SET_DATA_TYPE; 0 when s is no map.
func (s *Set) dataType() uint32 { return magicOf(s.Data) }

// keyLen is NFTA_SET_KEY_LEN: the bytes of a key, a concatenation's fields padded to four each.
func (s *Set) keyLen() uint32 { return lenOf(s.Key) }

// dataLen is NFTA_SET_DATA_LEN; 0 when s is no map.
func (s *Set) dataLen() uint32 { return lenOf(s.Data) }

// concatenated reports whether s carries NFT_SET_CONCAT: the kernel needs to know the fields only of interval sets, and
// nft sets the flag only there.
func (s *Set) concatenated() bool { return s.Interval && len(s.Key) > 1 }

// keyFieldLens are the lengths of the key's fields without padding, NFTA_SET_FIELD_LEN each; nil unless concatenated.
func (s *Set) keyFieldLens() []uint8 {
	if !s.concatenated() {
		return nil
	}
	lens := make([]uint8, len(s.Key))
	for i, t := range s.Key {
		lens[i] = t.info().len
	}
	return lens
}

// userdata is NFTA_SET_USERDATA, as nft writes it.
func (s *Set) userdata() []byte {
	b := udataUint32(udataSetKeyByteOrder, uint32(orderOf(s.Key)))
	if s.IsMap() {
		b = append(b, udataUint32(udataSetDataByteOrder, uint32(orderOf(s.Data)))...)
	}
	b = append(b, typeofTLV(udataSetKeyTypeof, s.Key)...)
	if s.IsMap() {
		b = append(b, typeofTLV(udataSetDataTypeof, s.Data)...)
		b = append(b, udataUint32(udataSetDataInterval, 0)...)
	}
	return b
}

// typeof reports whether the declaration of types needs typeof: one of them has no name of its own.
func typeof(types []Type) bool {
	for _, t := range types {
		if t.info().name == "" {
			return true
		}
	}
	return false
}

// typeofTLV describes types where nft does: concatenations always, with their expressions when they were declared by typeof.
func typeofTLV(attr byte, types []Type) []byte {
	byExpr := typeof(types)
	switch {
	case len(types) == 1 && byExpr:
		return udataTLV(attr, types[0].info().typeofData)
	case len(types) == 1:
		return nil
	}
	var fields []byte
	if byExpr {
		for i, t := range types {
			fields = append(fields, udataTLV(byte(i), t.info().typeofData)...)
		}
	}
	return udataTLV(attr, typeofExpr(udataConcat, fields))
}

func magicOf(types []Type) uint32 {
	var magic uint32
	for _, t := range types {
		magic = magic<<typeBits | t.info().magic
	}
	return magic
}

func lenOf(types []Type) uint32 {
	if len(types) == 1 {
		return uint32(types[0].info().len)
	}
	var n uint32
	for _, t := range types {
		n += uint32(t.info().len+3) &^ 3
	}
	return n
}

// orderOf is the byte order of a key or of data; concatenations have none.
func orderOf(types []Type) byteOrder {
	if len(types) != 1 {
		return noOrder
	}
	return types[0].info().order
}

// typeofExpr describes an expression in user data: its kind, and the attributes of that kind.
func typeofExpr(kind uint32, attrs ...[]byte) []byte {
	var data []byte
	for _, a := range attrs {
		data = append(data, a...)
	}
	return append(udataUint32(udataTypeofExpr, kind), udataTLV(udataTypeofData, data)...)
}

// udataTLV is one attribute of user data: type, length, value, without padding.
func udataTLV(attr byte, value []byte) []byte {
	return append([]byte{attr, byte(len(value))}, value...)
}

// udataUint32 is a number in user data, in host byte order.
func udataUint32(attr byte, n uint32) []byte {
	return binary.NativeEndian.AppendUint32([]byte{attr, 4}, n)
}
