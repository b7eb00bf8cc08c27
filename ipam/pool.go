package ipam

import (
	"errors"
	"net/netip"
)

// Errors of a pool. The messages name the address and what has it; test for the kind with [errors.Is].
var (
	// ErrExhausted: every address of the range is in use.
	ErrExhausted = errors.New("no free address")
	// ErrInUse: the address was given out, or is the gateway's or an auxiliary one.
	ErrInUse = errors.New("address in use")
	// ErrUnusable: the address can't be given out: outside the subnet, the network's, the broadcast address.
	ErrUnusable = errors.New("unusable address")
)

// Config describes one subnet.
type Config struct {
	// Prefix is the subnet.
	Prefix netip.Prefix
	// Range is the part of Prefix that [Pool.Take] chooses from; the zero Prefix: all of it.
	Range netip.Prefix
	// Gateway is never given out; the zero Addr: there is none.
	Gateway netip.Addr
	// Aux are addresses, by name, that something else on the link has: never given out.
	Aux map[string]netip.Addr
}

// Pool gives out the addresses of one subnet. It is not safe for concurrent use.
type Pool struct{}

// New checks the subnet. The error says what doesn't fit into what.
func New(c Config) (*Pool, error) { return &Pool{}, nil }

// Take gives out an address.
func (p *Pool) Take() (netip.Addr, error) { return netip.Addr{}, ErrExhausted }

// Claim gives out a.
func (p *Pool) Claim(a netip.Addr) error { return nil }

// Release gives a back.
func (p *Pool) Release(a netip.Addr) {}

// History is what a restart needs beside the addresses in use.
func (p *Pool) History() (next netip.Addr, freed []netip.Addr) { return }

// Restore is the inverse of History, before or after the Claims of what is in use.
func (p *Pool) Restore(next netip.Addr, freed []netip.Addr) {}
