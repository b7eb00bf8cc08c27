// Package client speaks to a running bridged daemon: HTTP with JSON bodies over its unix socket, as docs/openapi.json
// describes it. It holds the wire types, which package api serves and the commands print, and a [Client] with one method a
// call.
//
// Networks are Docker Engine's own calls and shapes; everything else lies below /bridged/v1/. Errors carry the kinds of
// package bridged: test for them with [errors.Is].
//
//	c, err := client.Dial(client.DefaultHost)
//	…
//	defer c.Close()
//	made, err := c.CreateSandbox(ctx, client.SandboxCreate{Name: "web", Ports: []string{"8080:80"}})
package client
