package engine

import (
	"context"
	"errors"
	"fmt"
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

// startHeld runs an engine on a host that can be held.
func startHeld(t *testing.T) (*Engine, *heldHost, func()) {
	t.Helper()
	h := &heldHost{fakeHost: newFakeHost()}
	e := openFake(t, testConfig(t), h.fakeHost)
	e.host = h
	e, stop := run(t, e)
	return e, h, stop
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
				e, h, stop := startHeld(t)
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

// TestSubnetsAreFreeInTheEnd: so with networks, their subnets, and the names of their bridges.
func TestSubnetsAreFreeInTheEnd(t *testing.T) {
	subnet := bridged.Subnet{Prefix: netip.MustParsePrefix("10.1.0.0/24")}
	name := map[string]string{bridged.OptionBridgeName: "br-one"}
	for what, ask := range map[string]bridged.NetworkSpec{
		"subnet":        {Name: "b", Subnets: []bridged.Subnet{subnet}},
		"bridge's name": {Name: "b", Options: name},
	} {
		for _, failure := range []error{nil, errFake} {
			synctest.Test(t, func(t *testing.T) {
				e, h, stop := startHeld(t)
				defer stop()
				ctx := context.Background()
				if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "a", Subnets: []bridged.Subnet{subnet}, Options: name}); err != nil {
					t.Fatal(err)
				}
				outcome := make(chan error)
				h.commit = outcome
				removed, created := make(chan error, 1), make(chan error, 1)
				go func() { removed <- e.RemoveNetwork(ctx, "a") }()
				synctest.Wait()
				go func() {
					_, _, err := e.CreateNetwork(ctx, ask)
					created <- err
				}()
				// One that may have any subnet does not wait.
				if n, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "c"}); err != nil || n.IPv4.Prefix.Overlaps(subnet.Prefix) {
					t.Errorf("creating a network of any subnet: %v, %v", n.IPv4.Prefix, err)
				}
				synctest.Wait()
				if len(created) > 0 {
					t.Errorf("another one got the %s before it was free, or was refused", what)
				}
				outcome <- failure
				if err := <-removed; !errors.Is(err, failure) {
					t.Errorf("the removal: %v", err)
				}
				if err := <-created; failure == nil && err != nil || failure != nil && err == nil {
					t.Errorf("the %s, after a removal that ended with %v: %v", what, failure, err)
				}
				checkKernel(t, e, h.fakeHost)
			})
		}
	}
}

// TestAddressesStayTaken: an address whose connections are not purged yet is nobody's, also where its network is removed and another one has its subnet,
// and where the network's range changes.
func TestAddressesStayTaken(t *testing.T) {
	subnet := func(ranged string) bridged.Subnet {
		return bridged.Subnet{Prefix: netip.MustParsePrefix("10.88.0.0/24"), Range: netip.MustParsePrefix(ranged)}
	}
	attach := func(e *Engine, h *heldHost, name, ranged string) (bridged.AttachmentKey, netip.Addr, error) {
		spec := podnet(name, h.give())
		spec.Network.IPv4, spec.Network.IPv6 = subnet(ranged), bridged.Subnet{}
		a, err := e.Attach(context.Background(), spec)
		if err != nil {
			return spec.Key, netip.Addr{}, err
		}
		return spec.Key, a.IPs[0].Address.Addr(), nil
	}
	for what, again := range map[string]func(e *Engine, h *heldHost) (netip.Addr, error){
		"removed and made again": func(e *Engine, h *heldHost) (netip.Addr, error) {
			if err := e.RemoveNetwork(context.Background(), "podnet"); err != nil {
				return netip.Addr{}, err
			}
			_, a, err := attach(e, h, "b", "10.88.0.0/30")
			return a, err
		},
		"with another range": func(e *Engine, h *heldHost) (netip.Addr, error) {
			_, a, err := attach(e, h, "b", "10.88.0.0/29")
			return a, err
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			e, h, stop := startHeld(t)
			defer stop()
			key, had, err := attach(e, h, "a", "10.88.0.0/30")
			if err != nil {
				t.Fatal(err)
			}
			purged := make(chan error)
			h.purged = purged
			if err := e.Detach(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			type answer struct {
				addr netip.Addr
				err  error
			}
			got := make(chan answer, 1)
			go func() {
				a, err := again(e, h)
				got <- answer{a, err}
			}()
			synctest.Wait()
			select {
			case early := <-got:
				if early.addr == had || early.err != nil {
					t.Errorf("%s: %v is given out while its old connections are there: %v", what, early.addr, early.err)
				}
				got <- early
			default: // it waits
			}
			close(purged)
			b := <-got
			if b.err != nil {
				t.Errorf("%s: %v", what, b.err)
			}
			e.settle()
			for i := range 3 {
				if _, a, err := attach(e, h, fmt.Sprint("c", i), "10.88.0.0/29"); err != nil || a == b.addr {
					t.Errorf("%s: another one has %v, and b %v: %v", what, a, b.addr, err)
				}
			}
			checkKernel(t, e, h.fakeHost)
		})
	}
}
