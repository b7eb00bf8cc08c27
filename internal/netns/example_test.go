package netns_test

import (
	"fmt"

	"github.com/bridged/bridged/internal/netns"
)

// What is opened must be a network namespace.
func ExampleOpen() {
	_, err := netns.Open("/dev/null")
	fmt.Println(err)
	// Output: /dev/null is no network namespace: invalid argument
}
