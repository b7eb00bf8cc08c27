package main

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/bridged/bridged/bench/report"
)

// peer is one of the ways that are compared.
type peer struct {
	name, what string
	// find is its version, or an error that says why it can't be measured here.
	find func(*setting) (version string, err error)
	// publish makes a host of that name where this peer publishes ports; nil: it does not.
	publish func(s *setting, name string) (publisher, error)
	// attach makes a host of that name where this peer attaches namespaces; nil: it does not.
	attach func(s *setting, name string) (attacher, error)
	// patience is how many ports there may be, times those of one attach, before it takes minutes; 0: any number.
	patience int
	// files is how many files a process has open with these ports published; nil: it does not depend on them.
	files func(ports int) int
}

// setting is where the peers are.
type setting struct {
	daemon        string // the daemon's binary; "" when there is none, because of daemonMissing
	daemonMissing string
	// pause is a program that does nothing, for containers; "" when there is none, because of pauseMissing.
	pause        string
	pauseMissing string
	controlGroup string // see controlGroup
	openFiles    int    // that a process may have
}

// caller publishes ports: it translates a TCP port of the host to the same port of the container.
type caller interface {
	// publish and unpublish prepare one operation, to be done once: all of these ports in one transaction, or what comes closest.
	publish(ports []uint16) op
	unpublish(ports []uint16) op
}

// publisher is a peer in a world of its own.
type publisher interface {
	caller
	// callers are several that can be used at the same time.
	callers(n int) ([]caller, error)
	// held are the published ports that the kernel holds, and where they lead, read by other means.
	held() (translations, error)
	world() *world
	close() error
}

// attacher is a peer in a world of its own that attaches containers to its bridge and publishes their ports.
type attacher interface {
	// attach and detach prepare one operation, to be done once, as steps. Ports are TCP, the same inside as outside.
	attach(c *container, ports []uint16) ([]step, error)
	detach(c *container, ports []uint16) ([]step, error)
	// held is as of a publisher, with the containers' addresses.
	held() (translations, error)
	world() *world
	close() error
}

// step is a part of an operation: a process, a datagram, or a call as a whole.
type step struct {
	name string
	do   op
}

// ranger is a publisher that has a shorter way to publish a range.
type ranger interface {
	publishRange(first, last uint16) op
	unpublishRange(first, last uint16) op
}

// peers are all that there are, the floors first.
func peers() []peer {
	all := []peer{
		rawPeer(), pingPeer(), noRulesPeer(),
		nftPeer(), linkPeer(), enginePeer(), httpPeer(),
		googleElementPeer(), googleRulePeer(), nftBinaryPeer(),
	}
	all = append(all, iptablesPeers()...)
	return append(all, ipBatchPeer(), cniPeer(), dockerPeer())
}

// known is find of what is always there, as old as this program.
func known(*setting) (string, error) { return "", nil }

// tool is find of a program, which says its version when it is called with these arguments.
func tool(name, debianPackage string, args ...string) func(*setting) (string, error) {
	return func(*setting) (string, error) {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%s is not installed (Debian package %s)", name, debianPackage)
		}
		out, err := exec.Command(path, args...).CombinedOutput()
		text, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if err != nil {
			return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, text)
		}
		return text, nil
	}
}

// find looks for all peers; those that are missing are in the list too, with the reason.
func find(s *setting) (usable []peer, all []report.Peer) {
	for _, p := range peers() {
		version, err := p.find(s)
		entry := report.Peer{Name: p.name, What: p.what, Version: version}
		if err != nil {
			entry.Missing = err.Error()
		} else {
			usable = append(usable, p)
		}
		all = append(all, entry)
	}
	return usable, all
}
