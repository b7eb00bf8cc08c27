package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/bridged/bridged"
)

const (
	// askTimeout is how long Docker may take to tell the names of a network's containers. It answers when it is done with what it called us for.
	askTimeout = 10 * time.Second
	// maxAnswer is how long its answer may be, in bytes: some 300 for each container.
	maxAnswer = 64 << 20
)

// names asks Docker how the containers are called that endpoints belong to, one network at a time and never before a call is answered: meanwhile Docker
// may hold what it needs to answer.
type names struct {
	engine Engine
	log    *slog.Logger
	client *http.Client // nil: nobody is asked

	mu      sync.Mutex
	pending map[string]map[string]struct{} // endpoints by network
	more    chan struct{}                  // has one when there is something pending
}

func newNames(engine Engine, socket string, log *slog.Logger) *names {
	n := &names{engine: engine, log: log, pending: make(map[string]map[string]struct{}), more: make(chan struct{}, 1)}
	if socket != "" {
		n.client = &http.Client{Timeout: askTimeout, Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		}}
	}
	return n
}

// want has the name of an endpoint's container asked for, unless it is known.
func (n *names) want(ref endpointRef) {
	if n.client == nil {
		return
	}
	if j, _, ok := n.engine.Interface(ref.EndpointID); !ok || j.Endpoint.Name != "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending[ref.NetworkID] == nil {
		n.pending[ref.NetworkID] = make(map[string]struct{})
	}
	n.pending[ref.NetworkID][ref.EndpointID] = struct{}{}
	select {
	case n.more <- struct{}{}:
	default:
	}
}

// start asks for names until ctx is done: first for those that an earlier daemon did not learn. wait waits until that has ended.
func (n *names) start(ctx context.Context) (wait func()) {
	if n.client == nil {
		return func() {}
	}
	var asking sync.WaitGroup
	asking.Go(func() {
		select {
		case <-n.engine.Ready():
			n.wantAll()
		case <-ctx.Done():
			return
		}
		for {
			select {
			case <-n.more:
			case <-ctx.Done():
				return
			}
			n.askAll(ctx)
		}
	})
	return func() {
		asking.Wait()
		n.client.CloseIdleConnections()
	}
}

// wantAll has the names of all endpoints asked for that have joined a container.
func (n *names) wantAll() {
	for _, network := range n.engine.Networks() {
		if !network.HasLabel(bridged.LabelDocker) {
			continue
		}
		for _, m := range network.Members {
			if isEndpoint(m) && m.Peer != "" {
				n.want(endpointRef{network.ID, m.Sandbox})
			}
		}
	}
}

// askAll asks for all that is pending. What can't be learnt is not asked for again: the endpoint is shown by its id.
func (n *names) askAll(ctx context.Context) {
	n.mu.Lock()
	pending := n.pending
	n.pending = make(map[string]map[string]struct{})
	n.mu.Unlock()
	for network, endpoints := range pending {
		containers, err := n.ask(ctx, network)
		if err != nil {
			n.log.Debug("cannot learn the names of containers from Docker", "network", NetworkName(network), "error", err)
			continue
		}
		for endpoint := range endpoints {
			name := containers[endpoint]
			if name == "" {
				continue
			}
			if err := n.engine.NameInterface(ctx, endpoint, name); err != nil && !errors.Is(err, bridged.ErrNotFound) {
				n.log.Warn("cannot remember the name of a container", "endpoint", endpoint, "name", name, "error", err)
			}
		}
	}
}

// ask asks for the names of a network's containers, by endpoint.
func (n *names) ask(ctx context.Context, network string) (map[string]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/networks/"+network, nil)
	if err != nil {
		return nil, err
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	var answer struct {
		Containers map[string]struct{ Name, EndpointID string }
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return nil, err
	}
	byEndpoint := make(map[string]string, len(answer.Containers))
	for _, c := range answer.Containers {
		byEndpoint[c.EndpointID] = c.Name
	}
	return byEndpoint, nil
}
