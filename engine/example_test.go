package engine_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/engine"
)

// The packet program is the same on every host: everything that requests change is elements of its sets and maps.
func ExampleProgram() {
	for _, t := range engine.Program() {
		fmt.Println(t.ID)
	}
	// Output:
	// inet bridged
	// bridge bridged
}

// An appliance embeds the engine: it needs root, and works in the network namespace that it is started in.
func ExampleEngine() {
	e, err := engine.New(engine.Config{
		RunDir: "/run/appliance", StateDir: "/var/lib/appliance",
		BridgeName: "appliance0", BIP: netip.MustParsePrefix("10.9.0.1/24"),
		ICC: false, IPMasq: true, IPForward: true, IP: netip.IPv4Unspecified(), Protection: "auto",
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		if err := e.Run(ctx); err != nil {
			log.Fatal(err)
		}
	}()
	ports, err := bridged.ParsePortSpec("8080:80")
	if err != nil {
		log.Fatal(err)
	}
	web, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", Ports: ports}) // waits until the engine is ready
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(web.NetNS, web.Joined[0].Endpoint.IPv4, web.Ports[0])
}
