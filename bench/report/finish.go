package report

import (
	"cmp"
	"slices"
)

// Finish sorts the rows, sets their ratios, and judges the marks.
func (r *Report) Finish() {
	slices.SortStableFunc(r.Rows, r.compare)
	r.Marks = marks(r)
}

// workloadOrder is how workloads are told of; others come behind.
var workloadOrder = []string{"publish", "unpublish", "bulk", "bulk, undone", "range", "range, undone", "concurrent", "attach", "detach", "fleet attach", "fleet detach", "restart", "tcp connections", "udp flows", "tcp stream"}

func (r *Report) compare(a, b Row) int {
	place := func(name string) int {
		if i := slices.Index(workloadOrder, name); i >= 0 {
			return i
		}
		return len(workloadOrder)
	}
	peer := func(name string) int { return slices.IndexFunc(r.Peers, func(p Peer) bool { return p.Name == name }) }
	return cmp.Or(
		cmp.Compare(place(a.Workload), place(b.Workload)), cmp.Compare(a.Workload, b.Workload),
		cmp.Compare(a.Size, b.Size), cmp.Compare(a.Callers, b.Callers), cmp.Compare(a.Endpoints, b.Endpoints), cmp.Compare(a.Ports, b.Ports),
		cmp.Compare(peer(a.Peer), peer(b.Peer)), cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Part, b.Part))
}
