package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
	"github.com/bridged/bridged/engine"
	"github.com/bridged/bridged/nat"
)

// enginePeer is the engine as a library, in this process.
func enginePeer() peer {
	return peer{
		name: report.Engine, what: "the engine as a library: claims, reservation on the host, state, record, one transaction", find: known,
		publish: func(_ *setting, name string) (publisher, error) { return newEngine(name) },
		attach:  func(_ *setting, name string) (attacher, error) { return newEngine(name) },
		files:   func(ports int) int { return openFiles() + ports },
	}
}

// containerName is the sandbox that a world's container is.
const containerName = "container"

// enginePublisher runs an engine in a world.
type enginePublisher struct {
	w       *world
	dir     string
	engine  *engine.Engine
	running errgroup.Group
	cancel  context.CancelFunc
}

func newEngine(name string) (_ *enginePublisher, err error) {
	p := new(enginePublisher)
	if p.w, err = newWorld(name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.dir, err = tempDir("engine"); err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	spec := bridged.SandboxSpec{Name: containerName, NetNS: p.w.container.path(), IPv4: insideAddr.Addr()}
	_, err = p.engine.CreateSandbox(context.Background(), spec)
	return p, err
}

// stop ends the engine; what it made stays.
func (p *enginePublisher) stop() error {
	if p.cancel == nil {
		return nil
	}
	p.cancel()
	return p.running.Wait()
}

// start starts the engine and waits until it is ready.
func (p *enginePublisher) start() error {
	err := p.w.host.do(func() (err error) {
		p.engine, err = engine.New(engine.Config{
			RunDir: p.dir + "/run", StateDir: p.dir + "/state", BridgeName: bridgeName, BIP: bridgeAddr, ICC: true, IPMasq: true, IPForward: true,
			IP: netip.IPv4Unspecified(), Protection: "auto", Log: slog.New(slog.DiscardHandler),
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot start an engine: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.running.Go(func() error {
		defer cancel()
		return p.engine.Run(ctx)
	})
	select {
	case <-p.engine.Ready():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot run an engine: %w", p.running.Wait())
	}
}

func (p *enginePublisher) publish(ports []uint16) op {
	return engineCaller{p.engine, containerName, p.w.proto}.publish(ports)
}

func (p *enginePublisher) unpublish(ports []uint16) op {
	return engineCaller{p.engine, containerName, p.w.proto}.unpublish(ports)
}

// engineCaller publishes ports of one sandbox.
type engineCaller struct {
	engine  *engine.Engine
	sandbox string
	proto   bridged.Proto
}

func (c engineCaller) publish(ports []uint16) op {
	specs := portSpecs(c.proto, ports)
	return func() error {
		_, _, err := c.engine.AddPorts(context.Background(), c.sandbox, specs)
		return err
	}
}

func (c engineCaller) unpublish(ports []uint16) op {
	specs := portSpecs(c.proto, ports)
	return func() error { return c.engine.RemovePorts(context.Background(), c.sandbox, specs) }
}

// lodging is the namespace that was made for the sandbox.
func (c engineCaller) lodging() string { return c.sandbox }

// callers have a sandbox each.
func (p *enginePublisher) callers(n int) ([]caller, error) {
	all := make([]caller, n)
	for i := range all {
		c := engineCaller{p.engine, fmt.Sprintf("%s-caller%d", p.w.name, i), p.w.proto}
		if _, err := p.engine.CreateSandbox(context.Background(), bridged.SandboxSpec{Name: c.sandbox}); err != nil {
			return nil, err
		}
		all[i] = c
	}
	return all, nil
}

func (p *enginePublisher) attach(c *container, ports []uint16) ([]step, error) {
	spec := bridged.SandboxSpec{Name: c.name, NetNS: c.path(), IPv4: c.address.Addr(), Ports: portSpecs(p.w.proto, ports)}
	return []step{{"call", func() error {
		_, err := p.engine.CreateSandbox(context.Background(), spec)
		return err
	}}}, nil
}

func (p *enginePublisher) detach(c *container, _ []uint16) ([]step, error) {
	return []step{{"call", func() error { return p.engine.RemoveSandbox(context.Background(), c.name) }}}, nil
}

func portSpecs(proto bridged.Proto, ports []uint16) []bridged.PortSpec {
	specs := make([]bridged.PortSpec, len(ports))
	for i, port := range ports {
		specs[i] = bridged.PortSpec{HostPort: bridged.PortRange{First: port, Last: port}, ContainerPort: port, Proto: proto}
	}
	return specs
}

func (p *enginePublisher) held() (translations, error) {
	return p.w.host.mapTranslations(unix.NFPROTO_INET, nat.Inet.Name, "publish4any")
}

func (p *enginePublisher) world() *world { return p.w }

func (p *enginePublisher) close() error {
	return errors.Join(p.stop(), os.RemoveAll(p.dir), p.w.close())
}
