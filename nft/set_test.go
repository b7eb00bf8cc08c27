package nft

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What the writer says of a set is what nft says of the same declaration.
func TestSetsAreThoseOfNFT(t *testing.T) {
	for _, table := range []Table{inetTable(), bridgeTable()} {
		newNamespace(t)
		mustNFT(t, (&Table{ID: table.ID, Sets: table.Sets}).String(), "-f", "-")
		held := kernelDump(t, unix.NFT_MSG_GETSET, table.ID)
		if len(held) != len(table.Sets) {
			t.Fatalf("%d sets instead of %d", len(held), len(table.Sets))
		}
		for _, attrs := range held {
			s := table.set(cString(find(attrs, unix.NFTA_SET_NAME)))
			for _, number := range []struct {
				what string
				attr uint16
				ours uint32
			}{
				{"key type", unix.NFTA_SET_KEY_TYPE, s.keyType()},
				{"key length", unix.NFTA_SET_KEY_LEN, s.keyLen()},
				{"data type", unix.NFTA_SET_DATA_TYPE, s.dataType()},
				{"data length", unix.NFTA_SET_DATA_LEN, s.dataLen()},
			} {
				if theirs := bigEndian(find(attrs, number.attr)); theirs != number.ours {
					t.Errorf("%s: %s is %#x, nft's %#x", s.Name, number.what, number.ours, theirs)
				}
			}
			if theirs := find(attrs, unix.NFTA_SET_USERDATA); !bytes.Equal(s.userdata(), theirs) {
				t.Errorf("%s: user data are %x, nft's %x", s.Name, s.userdata(), theirs)
			}
			if theirs := heldFieldLens(attrs); !slices.Equal(s.keyFieldLens(), theirs) {
				t.Errorf("%s: fields are %v bytes long, nft's %v", s.Name, s.keyFieldLens(), theirs)
			}
		}
	}
}

// heldFieldLens reads NFTA_SET_DESC_CONCAT (2): for each field a nest with NFTA_SET_FIELD_LEN (1).
func heldFieldLens(attrs []byte) []uint8 {
	var lens []uint8
	var typ uint16
	var field []byte
	for a := attributes(find(find(attrs, unix.NFTA_SET_DESC), 2)); a.next(&typ, &field); {
		lens = append(lens, uint8(binary.BigEndian.Uint32(find(field, 1))))
	}
	return lens
}
