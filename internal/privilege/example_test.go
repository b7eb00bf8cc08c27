package privilege_test

import (
	"errors"
	"fmt"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/privilege"
)

func ExampleCheck() {
	if err := privilege.Check(); errors.Is(err, bridged.ErrDenied) {
		fmt.Println(err) // the daemon lacks CAP_NET_ADMIN (for …): run it as root, in the host's user namespace
	}
}
