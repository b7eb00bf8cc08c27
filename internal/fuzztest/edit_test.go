package fuzztest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/mdlayher/netlink"
)

// Without edits nothing is changed, and each edit leaves attributes that can be read.
func TestEdit(t *testing.T) {
	ae := netlink.NewAttributeEncoder()
	ae.String(1, "name")
	ae.Nested(2, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(3, []byte{1, 2, 3})
		ae.Nested(4, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(5, 6)
			return nil
		})
		return nil
	})
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := Edit(b, nil); !bytes.Equal(got, b) {
		t.Errorf("%x became %x", b, got)
	}
	seen := make(map[string]bool)
	for which := range byte(5) {
		for what := range byte(6) {
			for _, argument := range []byte{0, 1, 7, 255} {
				got := Edit(b, []byte{which, 0, what, argument})
				seen[string(got)] = true
				if d, err := netlink.NewAttributeDecoder(got); err != nil || d.Len() < 1 {
					t.Errorf("edit %d, %d, %d makes %x: %v", which, what, argument, got, err)
				}
			}
		}
	}
	if len(seen) < 50 {
		t.Errorf("%d messages of 120 edits", len(seen))
	}
}

func Example() {
	b := []byte{8, 0, 1, 0, 'a', 'b', 'c', 0, 5, 0, 2, 0, 7, 0, 0, 0}
	fmt.Println(len(b), len(Edit(b, []byte{1, 0, 3, 4}))) // the second attribute, four bytes longer
	// Output: 16 20
}
