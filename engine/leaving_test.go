package engine

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/conntrack"
)

// heldHost is a host whose next commit or purge waits until it is told what comes of it.
type heldHost struct {
	*fakeHost
	commit, purged chan error
}

func (h *heldHost) do(ctx context.Context, s step) error {
	if _, ok := s.(commit); ok && h.commit != nil {
		outcome := h.commit
		h.commit = nil
		if err := <-outcome; err != nil {
			return err
		}
	}
	return h.fakeHost.do(ctx, s)
}

func (h *heldHost) purge(flows []conntrack.Flow, addrs []netip.Addr) error {
	if h.purged != nil {
		<-h.purged
	}
	return h.fakeHost.purge(flows, addrs)
}

// TestAddressesAreFreeInTheEnd: an address and a MAC are somebody else's only when the endpoint that has them is gone from the kernel, with
// its connections; until then whoever asks for them waits. An endpoint whose removal fails keeps them.
func TestAddressesAreFreeInTheEnd(t *testing.T) {
	mac := bridged.MAC{2, 0, 0, 0, 0, 9}
	ip := netip.MustParseAddr("172.17.0.9")
	asks := map[string]bridged.SandboxSpec{"address": {Name: "b", IPv4: ip}, "MAC": {Name: "b", MAC: mac}}
	for what, ask := range asks {
		for _, failure := range []error{nil, errFake} {
			synctest.Test(t, func(t *testing.T) {
				h := &heldHost{fakeHost: newFakeHost()}
				e := openFake(t, testConfig(t), h.fakeHost)
				e.host = h
				e, stop := run(t, e)
				defer stop()
				ctx := context.Background()
				if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "a", IPv4: ip, MAC: mac}); err != nil {
					t.Fatal(err)
				}
				outcome, purged := make(chan error), make(chan error)
				h.commit, h.purged = outcome, purged
				removed, created := make(chan error, 1), make(chan error, 1)
				go func() { removed <- e.RemoveSandbox(ctx, "a") }()
				synctest.Wait()
				go func() {
					_, err := e.CreateSandbox(ctx, ask)
					created <- err
				}()
				synctest.Wait()
				if len(created) > 0 {
					t.Errorf("another one got the %s before it was free, or was refused", what)
				}
				outcome <- failure
				if err := <-removed; !errors.Is(err, failure) {
					t.Errorf("the removal: %v", err)
				}
				synctest.Wait()
				if failure == nil && len(created) > 0 {
					t.Errorf("another one got the %s while connections were left, or was refused", what)
				}
				close(purged)
				switch err := <-created; {
				case failure == nil && err != nil:
					t.Errorf("the %s is free, and: %v", what, err)
				case failure != nil && bridged.Code(err) != "conflict":
					t.Errorf("the %s is still somebody's, and: %v", what, err)
				}
				checkKernel(t, e, h.fakeHost)
			})
		}
	}
}
