package main

import (
	"context"
	"fmt"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
	"github.com/bridged/bridged/client"
)

// crowded is a peer that attaches on hosts where much is attached already.
type crowded interface {
	attacher
	// crowd makes sandboxes that are in so many networks each: a bridge has at most 1,023 ports.
	crowd(sandboxes, networks int) error
}

// The shape of a crowded host.
const (
	crowdedSandboxes = 1000
	crowdedNetworks  = 5
)

// crowdedLanes are the lanes of attaches on crowded hosts; which go with the others.
func (r *run) crowdedLanes(all *attachHosts) (lanes []*lane) {
	workload := fmt.Sprintf("attach beside %s endpoints", report.Numbers([]int{crowdedSandboxes * crowdedNetworks}))
	if r.quick {
		r.skip("%s: not with --quick", workload)
		return nil
	}
	peers := r.but(workload, r.attachers(), func(p peer) string {
		if p.name != report.Engine && p.name != report.HTTP {
			return "such a host is made for the engine and the daemon only"
		}
		return ""
	})
	for _, p := range peers {
		b, err := r.attachHost(p)
		if err != nil {
			r.fail("attach, %s: %w", p.name, err)
			continue
		}
		b.endpoints = crowdedSandboxes * crowdedNetworks
		*all = append(*all, b)
		r.progress.doing("%s: attaching %d sandboxes to %d networks each", p.name, crowdedSandboxes, crowdedNetworks)
		if err := b.attacher.(crowded).crowd(crowdedSandboxes, crowdedNetworks); err != nil {
			r.fail("attach, %s: %w", p.name, err)
			continue
		}
		lanes = append(lanes, b.loneLane())
	}
	return lanes
}

func crowdNetwork(i int) string { return fmt.Sprintf("crowd%d", i) }

func (p *enginePublisher) crowd(sandboxes, networks int) error {
	ctx := context.Background()
	for i := range networks {
		if _, _, err := p.engine.CreateNetwork(ctx, bridged.NetworkSpec{Name: crowdNetwork(i)}); err != nil {
			return err
		}
	}
	for i := range sandboxes {
		name, _ := p.w.sandbox(i)
		_, err := p.engine.CreateSandbox(ctx, bridged.SandboxSpec{Name: name, Network: crowdNetwork(0)})
		for n := 1; n < networks && err == nil; n++ {
			_, err = p.engine.Connect(ctx, bridged.ConnectSpec{Network: crowdNetwork(n), Sandbox: name})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *httpPublisher) crowd(sandboxes, networks int) error {
	ctx, c := context.Background(), p.daemon.client
	for i := range networks {
		if _, err := c.CreateNetwork(ctx, client.NetworkCreate{Name: crowdNetwork(i)}); err != nil {
			return err
		}
	}
	for i := range sandboxes {
		name, _ := p.w.sandbox(i)
		_, err := c.CreateSandbox(ctx, client.SandboxCreate{Name: name, Network: crowdNetwork(0)})
		for n := 1; n < networks && err == nil; n++ {
			err = c.Connect(ctx, crowdNetwork(n), client.NetworkConnect{Container: name})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
