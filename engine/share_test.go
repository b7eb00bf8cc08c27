package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// TestSharedStack follows a stack through users that come and go in any order.
func TestSharedStack(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	e, stop := startFake(t, cfg, h)
	ctx := t.Context()
	create := func(name, network string, specs ...bridged.PortSpec) bridged.SandboxInfo {
		t.Helper()
		info, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: name, Network: network, Ports: specs})
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	remove := func(name string) {
		t.Helper()
		if err := e.RemoveSandbox(ctx, name); err != nil {
			t.Fatal(err)
		}
		checkKernel(t, e, h)
	}
	a := create("a", "", specs(t, "8080:80")...)
	b := create("b", "container:a")
	c := create("c", "container:b") // a chain: the same stack
	for _, s := range []bridged.SandboxInfo{b, c} {
		if s.Mode != "container:a" || s.NetNS != a.NetNS || s.Joined[0].Endpoint.ID != a.Joined[0].Endpoint.ID || len(s.Ports) != 2 {
			t.Errorf("%s does not share the stack of a: %+v", s.Name, s)
		}
	}
	refused := func(what string, err error, code string) {
		t.Helper()
		if bridged.Code(err) != code || !strings.Contains(err.Error(), "a") {
			t.Errorf("%s: %v; want %s that names a", what, err, code)
		}
	}
	_, _, err := e.AddPorts(ctx, "b", specs(t, "81"))
	refused("publishing with b", err, "conflict")
	refused("unpublishing with b", e.RemovePorts(ctx, "b", specs(t, "80")), "conflict")
	_, err = e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "d", Network: "container:a", Ports: specs(t, "81")})
	refused("creating with a port", err, "conflict")
	_, err = e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "d", Network: "container:a", NetNS: "/run/netns/x"})
	refused("creating with a namespace", err, "invalid")
	_, err = e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "d", Network: "container:nobody"})
	refused("sharing with nobody", err, "not-found")

	remove("a") // its name is free, its stack stays
	// Not by e.Sandbox: "a" may also be the beginning of an id.
	if slices.ContainsFunc(e.Sandboxes(), func(s bridged.SandboxInfo) bool { return s.Name == "a" }) {
		t.Error("a is still there")
	}
	create("a", "")
	stop()
	e, stop = startFake(t, cfg, h)
	defer func() { stop() }()
	checkKernel(t, e, h)
	b, err = e.Sandbox("b")
	if err != nil || len(b.Ports) != 2 || len(b.Joined) != 1 {
		t.Errorf("b lost its stack: %+v, %v", b, err)
	}
	if got, _ := e.Ports(""); len(got) != 2 || got[0].SandboxName != "b" {
		t.Errorf("the stack's ports are listed as %+v, want those of b", got)
	}
	remove("c")
	remove("b") // the last user
	remove("a")
	if len(h.objects.pairs) != 0 || len(h.spaces) != 0 {
		t.Errorf("left: %v, %v", h.objects.pairs, h.spaces)
	}
}

// TestLastUserStays: where a stack can't be taken away, the last sandbox that uses it stays, and can be removed later.
func TestLastUserStays(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	ctx := t.Context()
	for _, spec := range []bridged.SandboxSpec{{Name: "a", Ports: specs(t, "8080:80")}, {Name: "b", Network: "container:a"}} {
		if _, err := e.CreateSandbox(ctx, spec); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.RemoveSandbox(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	h.failNext(1)
	if err := e.RemoveSandbox(ctx, "b"); !errors.Is(err, errFake) {
		t.Fatalf("removing the last user: %v", err)
	}
	if b, err := e.Sandbox("b"); err != nil || len(b.Ports) != 2 {
		t.Errorf("it lost its stack: %+v, %v", b, err)
	}
	checkKernel(t, e, h)
	if err := e.RemoveSandbox(ctx, "b"); err != nil {
		t.Error(err)
	}
	checkKernel(t, e, h)
	if all := e.State().Sandboxes; len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}
