package main

import (
	"net/netip"
	"slices"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
)

// packetWork sends packets through the port that was published last.
func packetWork() workload {
	return workload{
		name: "packets", what: always("new TCP connections, new UDP flows and a stream through the last of the published ports"),
		lasts: func(r *run) time.Duration {
			return time.Duration(len(r.packetPeers())*len(r.packetSizes())) * 5 * r.pace().budget
		},
		do: (*run).packets,
	}
}

// packetPeers are those whose rules differ from the others'.
func (r *run) packetPeers() []peer {
	like := map[string]string{
		report.Raw: report.NFT, report.HTTP: report.Engine, report.NFTBinary: report.GoogleElement, report.Restore: report.IPTables,
		report.RestoreOld: report.IPTablesOld, report.IPBatch: report.IPTables,
	}
	return r.but("packets", slices.DeleteFunc(slices.Clone(r.peers), func(p peer) bool { return p.name == report.Ping || p.name == report.Link }), func(p peer) string {
		switch other, ok := like[p.name]; {
		case ok:
			return "its rules are as those of " + other
		case p.publish == nil:
			return "only its attaches are measured"
		}
		return ""
	})
}

func (r *run) packetSizes() []int {
	if r.quick {
		return []int{1, 1000}
	}
	return []int{1, 10_000, 50_000}
}

// The workloads of packetWork, as rows have them.
const (
	connections = "tcp connections"
	flows       = "udp flows"
	stream      = "tcp stream"
)

// streamed is how much is sent at a time.
const streamed = 16 << 20

func (r *run) packets() error {
	for _, proto := range []bridged.Proto{bridged.TCP, bridged.UDP} {
		hosts := r.publishHosts("packets", r.packetPeers(), r.packetSizes(), proto)
		var lanes []*lane
		for _, h := range hosts {
			key := report.Key{Workload: "packets", Peer: h.peer.name, Ports: len(h.ports)}
			p := path{w: h.world(), to: h.entrance(), port: h.ports[len(h.ports)-1]}
			if proto == bridged.UDP {
				lanes = append(lanes, &lane{key: key, most: 1000, cycle: p.flows})
				continue
			}
			lanes = append(lanes,
				&lane{key: key, most: 1000, cycle: p.connections},
				&lane{key: key, most: 100, bytes: streamed, cycle: p.stream})
		}
		r.run(report.NoRules, lanes)
		hosts.check(r, nil)
		hosts.close(r)
	}
	return nil
}

// entrance is whom the client asks.
func (h *host) entrance() netip.Addr {
	if h.peer.name == report.NoRules {
		return insideAddr.Addr()
	}
	return hostAddr.Addr()
}
