package docker_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/bridged/bridged/docker"
)

// A driver of an engine, here one in memory, and what Docker's engine asks it at first.
func Example() {
	dir, err := os.MkdirTemp("", "docker")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "bridged.sock") // Docker looks in /run/docker/plugins

	listener, err := docker.Listen(socket)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- docker.New(newFake(), docker.Options{}).Serve(ctx, listener) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
	for _, call := range []string{"Plugin.Activate", "IpamDriver.GetDefaultAddressSpaces"} {
		resp, err := client.Post("http://plugin/"+call, "", nil)
		if err != nil {
			log.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Print(string(text), err, "\n")
	}
	stop()
	fmt.Println(<-done)
	// Output:
	// {"Implements":["NetworkDriver","IpamDriver"]}
	// <nil>
	// {"LocalDefaultAddressSpace":"bridged-local","GlobalDefaultAddressSpace":"bridged-global"}
	// <nil>
	// <nil>
}
