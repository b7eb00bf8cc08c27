package main

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
	"github.com/bridged/bridged/engine"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// nftPeer is package nft with the daemon's whole packet program, without the engine around it.
func nftPeer() peer {
	return peer{
		name: report.NFT, what: "the daemon's packet program and its writer, without engine: one element a port", find: known,
		publish: func(_ *setting, name string) (publisher, error) { return newNFT(name, nft.Options{}) },
	}
}

// nftPublisher has the daemon's program in a world, with the elements of one network and one endpoint.
type nftPublisher struct {
	w        *world
	writer   *nft.Writer
	program  []nft.Table
	network  bridged.Network
	endpoint bridged.Endpoint
	spare    spareTxs
}

// newNFT loads the program by a writer with these options.
func newNFT(name string, options nft.Options) (_ *nftPublisher, err error) {
	p := &nftPublisher{program: engine.Program()}
	if p.w, err = newWorld(name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if err := p.w.bridge(); err != nil {
		return nil, err
	}
	err = p.w.host.do(func() error {
		p.writer, err = nft.Dial(options)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, p.load()
}

func (p *nftPublisher) load() error {
	p.network = bridged.Network{
		ID: bridged.NewID(), Name: bridged.NetworkBridge, Driver: bridged.DriverBridge, Bridge: bridgeName, MTU: 1500,
		ICC: true, Masquerade: true, SourceGuard: true,
		IPv4: bridged.Subnet{Prefix: bridgeAddr.Masked(), Gateway: bridgeAddr.Addr()},
	}
	p.endpoint = bridged.Endpoint{
		ID: bridged.NewID(), Network: p.network.ID, HostInterface: portName, Interface: "eth0", MAC: bridged.MAC(insideMAC), IPv4: insideAddr,
	}
	n := p.network
	tx := nft.NewTx(p.program...)
	for _, t := range p.program {
		tx.AddTable(t)
	}
	for _, elements := range [][]nft.Element{
		forwarding.Base(), forwarding.Host(bridged.Forwarding{IPv4: true}),
		nat.Network(n), forwarding.Network(n), forwarding.Endpoint(n, p.endpoint, nil),
	} {
		for _, e := range elements {
			tx.Add(e)
		}
	}
	return p.writer.Commit(context.Background(), tx)
}

// published is the element of a port of the container.
func (p *nftPublisher) published(port uint16) nft.Element {
	return publishedAt(p.w.proto, port, p.endpoint)
}

// publishedAt is the element of a port of an endpoint.
func publishedAt(proto bridged.Proto, port uint16, e bridged.Endpoint) nft.Element {
	binding := bridged.Binding{HostIP: netip.IPv4Unspecified(), Proto: proto, HostPort: port}
	return nat.Port(bridged.Port{Binding: binding, ContainerPort: port}, e)[0]
}

func (p *nftPublisher) publish(ports []uint16) op   { return p.commit(ports, (*nft.Tx).Add) }
func (p *nftPublisher) unpublish(ports []uint16) op { return p.commit(ports, (*nft.Tx).Delete) }

func (p *nftPublisher) commit(ports []uint16, change func(*nft.Tx, nft.Element)) op {
	elements := make([]nft.Element, len(ports))
	for i, port := range ports {
		elements[i] = p.published(port)
	}
	return func() error {
		tx := p.spare.take()
		if tx == nil {
			tx = nft.NewTx(p.program...)
		}
		defer p.spare.put(tx)
		for _, e := range elements {
			change(tx, e)
		}
		return p.writer.Commit(context.Background(), tx)
	}
}

// spareTxs are transactions that were used: another use allocates nothing. A caller of package nft keeps its transaction; a [sync.Pool] would not.
type spareTxs struct {
	mu  sync.Mutex
	txs []*nft.Tx
}

// take is one that is empty; nil: there is none.
func (s *spareTxs) take() *nft.Tx {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.txs) == 0 {
		return nil
	}
	tx := s.txs[len(s.txs)-1]
	s.txs = s.txs[:len(s.txs)-1]
	return tx
}

func (s *spareTxs) put(tx *nft.Tx) {
	tx.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.txs = append(s.txs, tx)
}

// callers share the writer, which commits together what waits.
func (p *nftPublisher) callers(n int) ([]caller, error) { return many(p, n), nil }

func (p *nftPublisher) held() (translations, error) {
	return p.w.host.mapTranslations(unix.NFPROTO_INET, nat.Inet.Name, "publish4any")
}

func (p *nftPublisher) world() *world { return p.w }

func (p *nftPublisher) close() error {
	var err error
	if p.writer != nil {
		err = p.writer.Close()
	}
	return errors.Join(err, p.w.close())
}
