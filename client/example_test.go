package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

func Example() {
	c, err := client.Dial("unix:///nonexistent/bridged.sock")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	made, err := c.CreateSandbox(context.Background(), client.SandboxCreate{Name: "web", Ports: []string{"8080:80"}})
	if errors.Is(err, bridged.ErrUnavailable) {
		fmt.Println(err)
		return
	}
	fmt.Println(made.Networks["bridge"].IPAddress, err)
	// Output: no daemon at unix:///nonexistent/bridged.sock: the socket does not exist; start it with: bridged daemon
}
