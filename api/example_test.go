package api_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/bridged/bridged/api"
	"github.com/bridged/bridged/api/apitest"
	"github.com/bridged/bridged/client"
)

// A server of an engine, here the one in memory, and a client that asks it.
func Example() {
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")

	listener, err := api.Listen(socket)
	if err != nil {
		log.Fatal(err)
	}
	engine := apitest.New()
	engine.MarkReady()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- api.New(engine, api.Options{}).Serve(ctx, listener) }()

	c, err := client.Dial("unix://" + socket)
	if err != nil {
		log.Fatal(err)
	}
	networks, err := c.Networks(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range networks {
		fmt.Println(n.Name, n.Driver)
	}
	c.Close()
	stop()
	fmt.Println(<-done)
	// Output:
	// bridge bridge
	// host host
	// none null
	// <nil>
}
