package api

import "testing"

// TestChangesAreMarked: what is not a question changes something, and so is for those only who may.
func TestChangesAreMarked(t *testing.T) {
	for _, rt := range routes() {
		if asks := rt.method == "GET" || rt.method == "HEAD"; asks == rt.change {
			t.Errorf("%s %s: change is %t", rt.method, rt.path, rt.change)
		}
	}
}
