package store_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/store"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	dirs := store.Dirs{Run: filepath.Join(dir, "run"), State: filepath.Join(dir, "state")}

	var state bridged.State
	s, err := store.Open(dirs, state.Apply)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = s.Append(bridged.Change{Sandboxes: map[string]*bridged.Sandbox{"1f": {ID: "1f", Name: "web"}}})
	s.Close() // a kill -9 does no less

	s, err = store.Open(dirs, state.Apply)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	fmt.Println(state.Sandboxes["1f"].Name)
	// Output: web
}
