package apitest_test

import (
	"context"
	"fmt"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/api/apitest"
)

func Example() {
	e := apitest.New()
	sb, err := e.CreateSandbox(context.Background(), bridged.SandboxSpec{
		Name: "web", Ports: []bridged.PortSpec{{HostPort: bridged.PortRange{First: 8080, Last: 8080}, ContainerPort: 80, Proto: bridged.TCP}},
	})
	fmt.Println(sb.Joined[0].Endpoint.IPv4, sb.Ports, err)
	// Output: 172.17.0.1/16 [80/tcp -> 0.0.0.0:8080] <nil>
}
