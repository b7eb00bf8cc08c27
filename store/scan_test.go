package store

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/bridged/bridged"
)

// TestScanned: what a request usually writes, and a compacted log has most of, is read by the scanner, as encoding/json would read it.
func TestScanned(t *testing.T) {
	attached := attachChange()
	released := bridged.Change{Sandboxes: map[string]*bridged.Sandbox{"s": nil}, Endpoints: map[string]*bridged.Endpoint{"e": nil}, Ports: map[bridged.Binding]*bridged.Port{}}
	for _, c := range []bridged.Change{attached, released, {Ports: attached.Ports}} {
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var want bridged.Change
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if got, ok := newScanner().change(text); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read as %+v, %v; want %+v", text, got, ok, want)
		}
	}
}

// What plain finds is what a look at each byte finds.
func TestPlain(t *testing.T) {
	for first := range 256 {
		for second := range 256 {
			for at := range 17 {
				b := []byte("seventeen letters")
				b[at], b[(at+1)%len(b)] = byte(first), byte(second)
				want := 0
				for want < len(b) && b[want] >= ' ' && b[want] <= '~' && b[want] != '"' && b[want] != '\\' {
					want++
				}
				if got := plain(b); got != want {
					t.Fatalf("%q begins with %d plain bytes, not %d", b, got, want)
				}
			}
		}
	}
}
