package engine

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
)

// addLease adds the n-th lease, with a link, to the kernel.
func (f *ruins) addLease(n int) bridged.Endpoint {
	_, e := f.add(n, func(s *bridged.Sandbox, e *bridged.Endpoint, _ *link.Link) {
		delete(f.spaces, s.NetNS)
		e.Sandbox, e.Interface, e.Peer = leaseKey(n), "", "bp0000000000aa"
	})
	return e
}

// TestRebuildLeases: what the kernel tells of leases, beside a log that says more or less of them.
func TestRebuildLeases(t *testing.T) {
	for _, tt := range []struct {
		name string
		// prepare puts what the log says into the state, and changes the kernel.
		prepare func(f *ruins, e bridged.Endpoint)
		want    func(e bridged.Endpoint) bridged.Endpoint // nil: there is none
		warning string
	}{
		{"the log says nothing", func(*ruins, bridged.Endpoint) {}, same, "1 sandboxes and leases"},
		{"the log says it", func(f *ruins, e bridged.Endpoint) { f.knownLease(e) }, same, ""},
		{"the log says the lease without its link", func(f *ruins, e bridged.Endpoint) { f.knownLease(unlinked(e)) }, same, ""},
		{"the link is gone", func(f *ruins, e bridged.Endpoint) { f.knownLease(e); f.links = f.links[:1] }, unlinked, ""},
		{"the link has no elements, and the log says it", func(f *ruins, e bridged.Endpoint) {
			f.knownLease(e)
			maps.DeleteFunc(f.r.elements, func(nft.Element, struct{}) bool { return true })
		}, unlinked, ""},
		{"the link has no elements", func(f *ruins, _ bridged.Endpoint) {
			maps.DeleteFunc(f.r.elements, func(nft.Element, struct{}) bool { return true })
		}, nil, ""},
		{"the link is in no bridge", func(f *ruins, _ bridged.Endpoint) { f.links[1].Master = 0 }, nil, "in no bridge"},
		{"the key has another lease", func(f *ruins, e bridged.Endpoint) {
			other := unlinked(e)
			other.ID, other.IPv4, other.MAC = bridged.NewID(), prefix("10.1.0.77/24"), bridged.MAC{2, 77}
			f.knownLease(other)
		}, nil, "is something else"},
		{"the key is a sandbox", func(f *ruins, e bridged.Endpoint) {
			s := bridged.Sandbox{ID: bridged.NewID(), Name: e.Sandbox, Mode: bridged.ModeHost, Settled: true}
			f.x.apply(bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: &s}})
		}, nil, "is something else"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newRuins()
			e := f.addLease(2)
			tt.prepare(f, e)
			f.run()
			got, there := f.x.Endpoints[e.ID]
			if there != (tt.want != nil) {
				t.Fatalf("it is there: %t; warnings %q", there, f.r.warnings)
			}
			if there {
				want := tt.want(e)
				if got.HostInterface != want.HostInterface || got.Peer != want.Peer || got.MTU != want.MTU || got.IPv4 != e.IPv4 || got.Sandbox != e.Sandbox || got.MAC != e.MAC {
					t.Errorf("it is %+v, want %+v", got, want)
				}
			}
			if said := strings.Join(f.r.warnings, "\n"); !strings.Contains(said, tt.warning) {
				t.Errorf("the warnings are %q", said)
			}
			if names := f.names(); slices.Contains(names, "") {
				t.Errorf("there are sandboxes %q", names)
			}
		})
	}
}

func same(e bridged.Endpoint) bridged.Endpoint { return e }

// knownLease puts a lease into the state.
func (f *ruins) knownLease(e bridged.Endpoint) {
	f.x.apply(bridged.Change{Endpoints: map[string]*bridged.Endpoint{e.ID: &e}})
}
