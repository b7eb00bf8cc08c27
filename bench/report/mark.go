package report

import (
	"fmt"
	"time"
)

// bound is a mark before it is measured.
type bound struct {
	what string
	// limit is the most that is allowed, or the least where atLeast is set.
	limit   float64
	atLeast bool
	// figures are the measurements that it is about, of which the worst counts; none: they were not made.
	figures func(*Report) []figure
}

// figure is one measurement of a mark, as a number and in words.
type figure struct {
	value float64
	text  string
}

// worse says whether a is on the bad side of b.
func (b bound) worse(x, y float64) bool {
	if b.atLeast {
		return x < y
	}
	return x > y
}

func (b bound) String() string {
	if b.atLeast {
		return fmt.Sprintf("≥ %g", b.limit)
	}
	return fmt.Sprintf("≤ %g", b.limit)
}

// marks are the project's own bounds, judged by what was measured.
func marks(r *Report) []Mark {
	var all []Mark
	for _, b := range bounds() {
		m := Mark{What: b.what, Bound: b.String()}
		var worst figure
		for i, f := range b.figures(r) {
			if i == 0 || b.worse(f.value, worst.value) {
				worst = f
			}
		}
		m.Measured, m.Met = worst.text, worst.text != "" && !b.worse(worst.value, b.limit)
		all = append(all, m)
	}
	return all
}

func bounds() []bound {
	most := func(what string, limit float64, f func(*Report) []figure) bound { return bound{what, limit, false, f} }
	least := func(what string, limit float64, f func(*Report) []figure) bound { return bound{what, limit, true, f} }
	return []bound{
		most("publish in nft : raw floor", 1.2, beside("publish", NFT, Raw, p50)),
		most("unpublish in nft : raw floor", 1.2, beside("unpublish", NFT, Raw, p50)),
		most("publish in nft : raw floor, p99 : p99", 2, beside("publish", NFT, Raw, p99)),
		most("unpublish in nft : raw floor, p99 : p99", 2, beside("unpublish", NFT, Raw, p99)),
		most("publish in the engine : in nft", 15, beside("publish", Engine, NFT, p50)),
		most("publish over HTTP : GET /_ping", 2, beside("publish", HTTP, Ping, p50)),
		most("publish in nft beside most ports : beside none", 1.25, grown("publish", NFT)),
		most("unpublish in nft beside most ports : beside none", 1.25, grown("unpublish", NFT)),
		most("publish in the engine beside most ports : beside none", 1.25, grown("publish", Engine)),
		most("unpublish in the engine beside most ports : beside none", 1.25, grown("unpublish", Engine)),
		most("publish over HTTP beside most ports : beside none", 1.25, grown("publish", HTTP)),
		most("unpublish over HTTP beside most ports : beside none", 1.25, grown("unpublish", HTTP)),
		most("many ports in one transaction of nft : raw floor", 1.25, beside("bulk", NFT, Raw, p50)),
		least("32 callers : 1 caller in the engine, throughput", 2, crowdRate),
		most("32 callers of the engine, p99 : p50", 10, crowdTail),
		most("attach, the kernel's part : two raw datagrams", 1.2, attachKernel),
		most("attach with a port over HTTP : two raw datagrams + GET /_ping", 1.5, attachHTTP),
		most("attach over HTTP beside most endpoints : beside none", 1.5, attachGrown),
		most("detach : attach, over HTTP", 0.5, detachAttach(HTTP)),
		most("detach : attach, in the engine", 0.5, detachAttach(Engine)),
		most("a new TCP connection beside most ports : beside one", 1.1, grown("tcp connections", NFT)),
		most("a new UDP flow beside most ports : beside one", 1.1, grown("udp flows", NFT)),
		most("start of the engine with nothing to do : one dump", 3, beside("restart", Engine, Raw, p50)),
		most("start of the daemon's process with nothing to do : one dump", 3, beside("restart", HTTP, Raw, p50)),
		most("resident memory of the idle daemon, MiB", 20, footprint(func(f Footprint) float64 { return float64(f.Idle) / (1 << 20) })),
		most("resident memory with a thousand sandboxes of ten ports, MiB", 60, footprint(func(f Footprint) float64 {
			if f.Sandboxes < 1000 {
				return 0
			}
			return float64(f.Loaded) / (1 << 20)
		})),
		most("the daemon's binary, MB", 12, footprint(func(f Footprint) float64 { return float64(f.Binary) / 1e6 })),
		least("iptables (nft) : publish in nft, beside no port", 1000, at(0, "publish", IPTables, NFT)),
		least("iptables (nft) : publish in nft, beside 10,000 ports", 3000, at(10_000, "publish", IPTables, NFT)),
	}
}

func p50(s Stats) time.Duration { return s.P50 }
func p99(s Stats) time.Duration { return s.P99 }

// beside compares two peers wherever both were measured alike.
func beside(workload, peer, floor string, of func(Stats) time.Duration) func(*Report) []figure {
	return func(r *Report) (all []figure) {
		for _, row := range r.Rows {
			if row.Workload != workload || row.Peer != peer || row.Part != "" {
				continue
			}
			k := row.Key
			k.Peer = floor
			if other, ok := r.Row(k); ok {
				all = append(all, compared(of(row.Stats), of(other.Stats), row.Beside())...)
			}
		}
		return all
	}
}

// compared is a figure made of two durations; none when one is missing.
func compared(a, b time.Duration, where string) []figure {
	v := Ratio(a, b)
	if v == 0 {
		return nil
	}
	return []figure{{v, fmt.Sprintf("%s (%s : %s; %s)", number(v), Short(a), Short(b), where)}}
}

// grown compares a peer beside most ports with itself beside the fewest.
func grown(workload, peer string) func(*Report) []figure {
	return func(r *Report) []figure {
		var first, last *Row
		for i, row := range r.Rows {
			if row.Workload != workload || row.Peer != peer || row.Part != "" {
				continue
			}
			if first == nil || row.Ports < first.Ports {
				first = &r.Rows[i]
			}
			if last == nil || row.Ports > last.Ports {
				last = &r.Rows[i]
			}
		}
		if first == last {
			return nil
		}
		return compared(last.P50, first.P50, fmt.Sprintf("%d ports : %d", last.Ports, first.Ports))
	}
}

// at compares two peers beside so many ports.
func at(ports int, workload, peer, floor string) func(*Report) []figure {
	return func(r *Report) []figure {
		return compared(r.median(Key{Workload: workload, Peer: peer, Ports: ports}), r.median(Key{Workload: workload, Peer: floor, Ports: ports}),
			fmt.Sprintf("%d ports", ports))
	}
}

// median is a row's; 0 when there is none.
func (r *Report) median(k Key) time.Duration {
	row, _ := r.Row(k)
	return row.P50
}

func crowdRate(r *Report) []figure {
	one, ok := r.Row(Key{Workload: "concurrent", Peer: Engine, Callers: 1})
	many, ok2 := r.Row(Key{Workload: "concurrent", Peer: Engine, Callers: 32})
	if !ok || !ok2 || one.Rate == 0 {
		return nil
	}
	v := many.Rate / one.Rate
	return []figure{{v, fmt.Sprintf("%s (%s : %s)", number(v), many.RateText(), one.RateText())}}
}

func crowdTail(r *Report) []figure {
	row, _ := r.Row(Key{Workload: "concurrent", Peer: Engine, Callers: 32})
	return compared(row.P99, row.P50, "32 callers")
}

// datagrams are the two of the floor of an attach, without the packet filter's batch; 0: not measured.
func (r *Report) datagrams() time.Duration {
	pair := r.median(Key{Workload: "attach", Peer: Raw, Size: 1, Part: "pair"})
	inside := r.median(Key{Workload: "attach", Peer: Raw, Size: 1, Part: "inside"})
	if pair == 0 || inside == 0 {
		return 0
	}
	return pair + inside
}

func attachKernel(r *Report) []figure {
	return compared(r.median(Key{Workload: "attach", Peer: Link, Size: 1}), r.datagrams(), "no other endpoint")
}

func attachHTTP(r *Report) []figure {
	floor, ping := r.datagrams(), r.median(Key{Workload: "attach", Peer: Ping, Size: 1})
	if floor == 0 || ping == 0 {
		return nil
	}
	return compared(r.median(Key{Workload: "attach", Peer: HTTP, Size: 1}), floor+ping, "no other endpoint")
}

func attachGrown(r *Report) (all []figure) {
	for _, row := range r.Rows {
		if row.Workload == "attach" && row.Peer == HTTP && row.Endpoints > 0 {
			all = append(all, compared(row.P50, r.median(Key{Workload: "attach", Peer: HTTP, Size: 1}), fmt.Sprintf("%d endpoints : 0", row.Endpoints))...)
		}
	}
	return all
}

func detachAttach(peer string) func(*Report) []figure {
	return func(r *Report) []figure {
		return compared(r.median(Key{Workload: "detach", Peer: peer, Size: 1}), r.median(Key{Workload: "attach", Peer: peer, Size: 1}), "no other endpoint")
	}
}

func footprint(of func(Footprint) float64) func(*Report) []figure {
	return func(r *Report) []figure {
		v := of(r.Footprint)
		if v == 0 {
			return nil
		}
		return []figure{{v, number(v)}}
	}
}
