package main

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/bench/report"
)

// nftBinaryPeer is the nft program: one process a change.
func nftBinaryPeer() peer {
	return peer{
		name: report.NFTBinary, what: "a process a change: one element a port, read from standard input", find: tool("nft", "nftables", "--version"),
		publish: func(_ *setting, name string) (publisher, error) { return newNFTBinary(name) },
	}
}

// nftBinaryPublisher has the same table as the google/nftables peer, in nft's language.
type nftBinaryPublisher struct{ w *world }

func newNFTBinary(name string) (_ *nftBinaryPublisher, err error) {
	p := new(nftBinaryPublisher)
	if p.w, err = newWorld(name); err != nil {
		return nil, err
	}
	err = p.w.bridge()
	if err == nil {
		err = p.nft(fmt.Sprintf(`table ip %s {
	map %s {
		type inet_proto . inet_service : ipv4_addr . inet_service
		size 131072
		counter
	}
	chain %s {
		type nat hook prerouting priority dstnat
		dnat ip to meta l4proto . th dport map @%[2]s
	}
}`, tableName, mapName, chainName))
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *nftBinaryPublisher) nft(script string) error {
	_, err := p.w.host.exec(script, "nft", "-f", "-")
	return err
}

func (p *nftBinaryPublisher) publish(ports []uint16) op {
	return func() error {
		return p.elements("add", ports, func(port uint16) string { return fmt.Sprintf("tcp . %d : %s . %[1]d", port, insideAddr.Addr()) })
	}
}

func (p *nftBinaryPublisher) unpublish(ports []uint16) op {
	return func() error {
		return p.elements("delete", ports, func(port uint16) string { return fmt.Sprintf("tcp . %d", port) })
	}
}

func (p *nftBinaryPublisher) elements(verb string, ports []uint16, text func(uint16) string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s element ip %s %s {", verb, tableName, mapName)
	for i, port := range ports {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(text(port))
	}
	b.WriteString("}\n")
	return p.nft(b.String())
}

// callers are processes beside one another.
func (p *nftBinaryPublisher) callers(n int) ([]caller, error) { return many(p, n), nil }

func (p *nftBinaryPublisher) held() (translations, error) {
	return p.w.host.mapTranslations(unix.NFPROTO_IPV4, tableName, mapName)
}

func (p *nftBinaryPublisher) world() *world { return p.w }

func (p *nftBinaryPublisher) close() error { return p.w.close() }
