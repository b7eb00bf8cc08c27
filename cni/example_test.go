package cni_test

import (
	"context"
	"os"
	"strings"

	"github.com/bridged/bridged/cni"
)

// A runtime sets variables, writes a configuration, and reads the answer.
func ExamplePlugin() {
	env := map[string]string{"CNI_COMMAND": "STATUS"}
	config := `{"cniVersion": "1.1.0", "name": "podnet", "type": "bridged-cni", "ipam": {"type": "dhcp"}}`
	cni.Plugin{
		Getenv: func(name string) string { return env[name] },
		Stdin:  strings.NewReader(config), Stdout: os.Stdout, Stderr: os.Stderr,
	}.Run(context.Background())
	// Output:
	// {"cniVersion":"1.1.0","code":7,"msg":"ipam.type: dhcp would be a further process, and none is started","details":"use bridged or host-local: the daemon then gives the addresses, of the subnets in ipam.ranges"}
}
