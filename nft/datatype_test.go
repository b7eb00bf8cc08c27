package nft

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Names, lengths and numbers of types are those of nft describe.
func TestDatatypesAreThoseOfNFT(t *testing.T) {
	_, err := exec.LookPath("nft")
	needs(t, err == nil, "the nft binary")
	_, err = os.Stat("/etc/protocols")
	needs(t, err == nil, "/etc/protocols, where nft finds the names of protocols")
	for typ := TypeIfName; int(typ) < len(datatypes); typ++ {
		d := typ.info()
		if d.name == "" || typ == typeMissing { // is an integer in nft
			continue
		}
		described, err := exec.Command("nft", "describe", d.name).Output()
		if err != nil {
			t.Fatalf("nft describe %s: %v", d.name, err)
		}
		head, rest, _ := strings.Cut(string(described), "\n")
		if want := fmt.Sprintf("%d bits", 8*int(d.len)); !strings.HasSuffix(head, want) && typ != TypeIfName {
			t.Errorf("%s: %q, want %s", d.name, head, want)
		}
		ours := make(map[string]uint32)
		for _, n := range d.names {
			ours[n.name] = n.value
			if d.len == 2 { // nft describes these as they are in memory
				ours[n.name] = uint32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, uint16(n.value))))
			}
		}
		theirs := describedNames(rest)
		for _, alias := range []string{"vlan", "mld-listener-reduction", "mptcp"} { // mptcp is too long for the field
			delete(theirs, alias)
		}
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("%s (-nft +ours):\n%s", d.name, diff)
		}
	}
}

// describedNames reads lines like "echo-reply    0", numbers also as 0x….
func describedNames(lines string) map[string]uint32 {
	names := make(map[string]uint32)
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		if n, err := strconv.ParseUint(words[len(words)-1], 0, 32); err == nil {
			names[words[0]] = uint32(n)
		}
	}
	return names
}
