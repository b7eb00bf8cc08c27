package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
)

// googleElementPeer is the common library as it should be used: the same idea as ours.
func googleElementPeer() peer {
	return peer{
		name: report.GoogleElement, what: "the library on a lasting connection: one element a port, behind one rule", find: findGoogle,
		publish: func(_ *setting, name string) (publisher, error) { return newGoogle(name, true) },
	}
}

// googleRulePeer is the common library as it is mostly used.
func googleRulePeer() peer {
	return peer{
		name: report.GoogleRule, what: "the library on a lasting connection: one rule a port", find: findGoogle,
		publish: func(_ *setting, name string) (publisher, error) { return newGoogle(name, false) },
	}
}

// findGoogle is the library's version, as it is linked in.
func findGoogle(*setting) (string, error) {
	const path = "github.com/google/nftables"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version, nil
			}
		}
	}
	return "", nil
}

// The names of what the peers make that bring no program of their own.
const (
	tableName = "bench"
	chainName = "prerouting"
	mapName   = "ports"
)

// googlePublisher has a table with one nat chain in a world.
type googlePublisher struct {
	w     *world
	conn  *nftables.Conn
	table *nftables.Table
	chain *nftables.Chain
	ports *nftables.Set             // where a port is an element
	rules map[uint16]*nftables.Rule // where it is a rule, with the handle that the kernel gave it
}

func newGoogle(name string, elements bool) (_ *googlePublisher, err error) {
	p := &googlePublisher{rules: make(map[uint16]*nftables.Rule)}
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
	// The library can't use sockets whose number is 1,024 or more: so these are opened before any port is published.
	if p.conn, err = nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(p.w.host.ns.FD())); err != nil {
		return nil, err
	}
	p.table = p.conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName})
	p.chain = p.conn.AddChain(&nftables.Chain{
		Name: chainName, Table: p.table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	if elements {
		if err := p.addMap(); err != nil {
			return nil, err
		}
	}
	return p, p.conn.Flush()
}

// addMap is the map, with the one rule that looks ports up: dnat to meta l4proto . th dport map @ports
func (p *googlePublisher) addMap() error {
	p.ports = &nftables.Set{
		Table: p.table, Name: mapName, IsMap: true, Concatenation: true, Counter: true, Size: 131072,
		KeyType:  nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService),
		DataType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService),
	}
	if err := p.conn.AddSet(p.ports, nil); err != nil {
		return err
	}
	p.conn.AddRule(&nftables.Rule{Table: p.table, Chain: p.chain, Exprs: []expr.Any{
		// The registers of 4 bytes that the key lies in follow one another: 8 and 9.
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 8},
		&expr.Payload{DestRegister: 9, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 8, DestRegister: 8, IsDestRegSet: true, SetName: p.ports.Name, SetID: p.ports.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 8, RegProtoMin: 9, Specified: true},
	}})
	return nil
}

func (p *googlePublisher) publish(ports []uint16) op {
	if p.ports != nil {
		return func() error { return p.flush(p.conn.SetAddElements(p.ports, p.elements(ports))) }
	}
	return func() error {
		for _, port := range ports {
			p.rules[port] = p.conn.AddRule(&nftables.Rule{Table: p.table, Chain: p.chain, Exprs: translate(p.w.proto, port)})
		}
		return p.conn.Flush()
	}
}

func (p *googlePublisher) unpublish(ports []uint16) op {
	if p.ports != nil {
		return func() error { return p.flush(p.conn.SetDeleteElements(p.ports, p.elements(ports))) }
	}
	return func() error {
		for _, port := range ports {
			if p.rules[port] == nil {
				return fmt.Errorf("there is no rule for port %d", port)
			}
			if err := p.conn.DelRule(p.rules[port]); err != nil {
				return err
			}
			delete(p.rules, port)
		}
		return p.conn.Flush()
	}
}

// flush sends what was asked for, unless that failed.
func (p *googlePublisher) flush(err error) error {
	if err != nil {
		return err
	}
	return p.conn.Flush()
}

func (p *googlePublisher) elements(ports []uint16) []nftables.SetElement {
	elements := make([]nftables.SetElement, len(ports))
	to := insideAddr.Addr().AsSlice()
	for i, port := range ports {
		number := append(binary.BigEndian.AppendUint16(nil, port), 0, 0)
		elements[i] = nftables.SetElement{Key: append([]byte{byte(p.w.proto), 0, 0, 0}, number...), Val: append(to[:4:4], number...)}
	}
	return elements
}

// translate is: meta l4proto PROTO th dport PORT dnat to CONTAINER:PORT
func translate(proto bridged.Proto, port uint16) []expr.Any {
	number := binaryutil.BigEndian.PutUint16(port)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(proto)}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: number},
		&expr.Immediate{Register: 1, Data: insideAddr.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: number},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}

// callers wait for one another: what two goroutines ask a connection for is one batch.
func (p *googlePublisher) callers(n int) ([]caller, error) { return inLine(p, n), nil }

func (p *googlePublisher) held() (translations, error) {
	if p.ports != nil {
		return p.w.host.mapTranslations(unix.NFPROTO_IPV4, tableName, mapName)
	}
	return p.w.host.ruleTranslations(unix.NFPROTO_IPV4, tableName, chainName)
}

func (p *googlePublisher) world() *world { return p.w }

func (p *googlePublisher) close() error {
	var err error
	if p.conn != nil {
		err = p.conn.CloseLasting()
	}
	return errors.Join(err, p.w.close())
}
