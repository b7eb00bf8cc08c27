package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bridged/bridged"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }

// reserveIn reserves the next address, or the one asked for.
func reserveIn(t testing.TB, e *Engine, pool, asked string) string {
	t.Helper()
	var a netip.Addr
	if asked != "" {
		a = ip(asked)
	}
	got, err := e.ReserveAddress(t.Context(), pool, a)
	if err != nil {
		t.Fatal(err)
	}
	return got.String()
}

// TestReservations: subnets are kept, and none that overlaps is given to anybody else, by whichever of them comes first.
func TestReservations(t *testing.T) {
	e, stop := startFake(t, testConfig(t), newFakeHost())
	defer stop()
	ctx := t.Context()
	for _, p := range []struct {
		spec     bridged.PoolSpec
		id, code string
	}{
		{bridged.PoolSpec{Prefix: prefix("10.77.0.9/24")}, "10.77.0.0/24", ""},
		{bridged.PoolSpec{Prefix: prefix("10.78.0.0/24"), Range: prefix("10.78.0.130/25")}, "10.78.0.0/24,10.78.0.128/25", ""},
		{bridged.PoolSpec{Prefix: prefix("fd00:77::/64"), IPv6: true}, "fd00:77::/64", ""},
		{bridged.PoolSpec{}, "172.18.0.0/16", ""},
		{bridged.PoolSpec{}, "172.19.0.0/16", ""},
		{bridged.PoolSpec{Prefix: prefix("10.77.0.0/24")}, "", "conflict"},
		{bridged.PoolSpec{Prefix: prefix("10.0.0.0/8")}, "", "conflict"},
		{bridged.PoolSpec{Prefix: prefix("172.17.0.0/24")}, "", "conflict"}, // the default network's
		{bridged.PoolSpec{Prefix: prefix("fd00:77::/64")}, "", "invalid"},
		{bridged.PoolSpec{Prefix: prefix("127.0.0.0/24")}, "", "invalid"},
		{bridged.PoolSpec{Prefix: prefix("0.0.0.0/0")}, "", "invalid"},
		{bridged.PoolSpec{Range: prefix("10.79.0.0/25")}, "", "invalid"},
		{bridged.PoolSpec{Prefix: prefix("10.79.0.0/24"), Range: prefix("10.80.0.0/25")}, "", "invalid"},
	} {
		r, err := e.ReservePool(ctx, p.spec)
		if code := map[bool]string{true: "", false: bridged.Code(err)}[err == nil]; code != p.code || r.ID != p.id && err == nil {
			t.Errorf("%+v: %q, %v; want %q, %q", p.spec, r.ID, err, p.id, p.code)
		}
	}
	if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "part", Subnets: []bridged.Subnet{{Prefix: prefix("10.77.0.0/25")}}}); bridged.Code(err) != "conflict" {
		t.Errorf("a network in a part of a reservation: %v", err)
	}
	n, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "chosen"})
	if err != nil || n.IPv4.Prefix != prefix("172.20.0.0/16") {
		t.Errorf("a network beside reservations has %v (%v)", n.IPv4, err)
	}
	for _, id := range []string{"10.77.0.0/24", "10.77.0.0/24", "10.99.0.0/24"} {
		if err := e.ReleasePool(ctx, id); err != nil {
			t.Errorf("releasing %s: %v", id, err)
		}
	}
	for _, id := range []string{"", "x", "10.77.0.1/24", "10.77.0.0/24,", "../../etc"} {
		if err := e.ReleasePool(ctx, id); bridged.Code(err) != "invalid" {
			t.Errorf("releasing %q: %v", id, err)
		}
	}
	if _, err := e.ReservePool(ctx, bridged.PoolSpec{Prefix: prefix("10.77.0.0/16")}); err != nil {
		t.Errorf("a subnet that is free again: %v", err)
	}
}

// TestReservedAddresses goes the way of Docker's engine: subnet, gateway, network, containers, and back, over restarts of the daemon and a
// reboot.
func TestReservedAddresses(t *testing.T) {
	cfg, h := testConfig(t), newFakeHost()
	e, stop := startFake(t, cfg, h)
	defer func() { stop() }()
	ctx := t.Context()
	is := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %s, want %s", what, got, want)
		}
	}
	r, err := e.ReservePool(ctx, bridged.PoolSpec{Prefix: prefix("10.77.0.0/24"), Range: prefix("10.77.0.0/28")})
	if err != nil {
		t.Fatal(err)
	}
	is("the gateway", reserveIn(t, e, r.ID, ""), "10.77.0.1/24")
	is("an auxiliary address", reserveIn(t, e, r.ID, "10.77.0.3"), "10.77.0.3/24")
	if _, err := e.ReserveAddress(ctx, r.ID, ip("10.77.0.3")); bridged.Code(err) != "conflict" {
		t.Errorf("reserving an address twice: %v", err)
	}
	n, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{ID: leaseKey(5), Name: "docker", Subnets: []bridged.Subnet{{
		Prefix: prefix("10.77.0.0/24"), Gateway: ip("10.77.0.1"), Aux: map[string]netip.Addr{"a": ip("10.77.0.3")},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if n.ID != leaseKey(5) || n.IPv4.Range != r.Range {
		t.Errorf("the network has the id %s and the range %s", n.ID, n.IPv4.Range)
	}
	if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{ID: leaseKey(5), Name: "other"}); bridged.Code(err) != "conflict" {
		t.Errorf("the id again: %v", err)
	}
	if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{ID: "abc", Name: "other"}); bridged.Code(err) != "invalid" {
		t.Errorf("another id: %v", err)
	}
	is("the first container's", reserveIn(t, e, r.ID, ""), "10.77.0.2/24")
	j, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "c1", Network: n.ID, IPv4: ip("10.77.0.2")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "c2", Network: n.ID, IPv4: ip("10.77.0.2")}); bridged.Code(err) != "conflict" {
		t.Errorf("an address for two leases: %v", err)
	}
	is("what a lease gets by itself", allocateOn(t, e, "c3", n.ID).Endpoint.IPv4.String(), "10.77.0.4/24")
	is("the second container's", reserveIn(t, e, r.ID, ""), "10.77.0.5/24")
	if _, err := e.ReserveAddress(ctx, r.ID, ip("10.77.0.4")); bridged.Code(err) != "conflict" {
		t.Errorf("reserving what a lease has: %v", err)
	}
	for _, a := range []string{"10.77.0.0", "10.77.0.255", "10.78.0.1", "fd00::1"} {
		if _, err := e.ReserveAddress(ctx, r.ID, ip(a)); bridged.Code(err) != "invalid" {
			t.Errorf("reserving %s: %v", a, err)
		}
	}
	// The daemon is started again: everything is as it was.
	stop()
	e, stop = startFake(t, cfg, h)
	is("the third container's", reserveIn(t, e, r.ID, ""), "10.77.0.6/24")
	if _, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "c5", Network: n.ID, IPv4: ip("10.77.0.5")}); err != nil {
		t.Errorf("an address that was reserved before the restart: %v", err)
	}
	// The address outlives the lease, and the lease the reservation's address.
	if err := e.ReleaseInterface(ctx, j.Endpoint.Sandbox); err != nil {
		t.Error(err)
	}
	e.settle()
	if _, err := e.ReserveAddress(ctx, r.ID, ip("10.77.0.2")); bridged.Code(err) != "conflict" {
		t.Errorf("an address whose lease is gone is still reserved: %v", err)
	}
	for range 2 {
		for _, a := range []string{"10.77.0.2", "10.77.0.5", "10.77.0.99"} {
			if err := e.ReleaseAddress(ctx, r.ID, ip(a)); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := e.ReserveAddress(ctx, r.ID, ip("10.77.0.5")); bridged.Code(err) != "conflict" {
		t.Errorf("reserving what a lease still has: %v", err)
	}
	is("what was given back", reserveIn(t, e, r.ID, "10.77.0.2"), "10.77.0.2/24")
	// A reboot: what was given out to containers is free, the rest is not.
	stop()
	reboot(t, cfg)
	h.objects = newObjects()
	e, stop = startFake(t, cfg, h)
	is("the first address after a reboot", reserveIn(t, e, r.ID, ""), "10.77.0.2/24")
	if err := e.ReleasePool(ctx, r.ID); err != nil {
		t.Error(err)
	}
	if _, err := e.ReservePool(ctx, bridged.PoolSpec{Prefix: r.Prefix}); bridged.Code(err) != "conflict" {
		t.Errorf("the subnet of a network whose reservation was given back: %v", err)
	}
	if _, err := e.ReserveAddress(ctx, r.ID, netip.Addr{}); bridged.Code(err) != "not-found" {
		t.Errorf("an address of no reservation: %v", err)
	}
	if err := e.ReleaseAddress(ctx, r.ID, ip("10.77.0.2")); err != nil {
		t.Error(err)
	}
	if _, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "c9", Network: n.ID, IPv4: ip("10.77.0.2")}); err != nil {
		t.Errorf("an address of a reservation that was given back: %v", err)
	}
}

// TestLastingAddresses: without a network of ours all addresses outlive a boot, since nobody tells which of them is a gateway.
func TestLastingAddresses(t *testing.T) {
	cfg, h := testConfig(t), newFakeHost()
	e, stop := startFake(t, cfg, h)
	r, err := e.ReservePool(t.Context(), bridged.PoolSpec{IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	first := reserveIn(t, e, r.ID, "")
	second := reserveIn(t, e, r.ID, "")
	if err := e.ReleaseAddress(t.Context(), r.ID, prefix(first).Addr()); err != nil {
		t.Error(err)
	}
	stop()
	reboot(t, cfg)
	e, stop = startFake(t, cfg, h)
	defer stop()
	if got := reserveIn(t, e, r.ID, prefix(first).Addr().String()); got != first {
		t.Errorf("what was given back before the reboot: %s", got)
	}
	if _, err := e.ReserveAddress(t.Context(), r.ID, prefix(second).Addr()); bridged.Code(err) != "conflict" || !strings.Contains(err.Error(), "in use") {
		t.Errorf("what was reserved before the reboot: %v", err)
	}
}

// reservedNetwork makes the network "reserved" on a reservation with addresses.
func reservedNetwork(t testing.TB, e *Engine) {
	t.Helper()
	r, err := e.ReservePool(t.Context(), bridged.PoolSpec{Prefix: prefix("10.99.0.0/24")})
	if err != nil {
		t.Fatal(err)
	}
	reserveIn(t, e, r.ID, "")
	if _, _, err := e.CreateNetwork(t.Context(), bridged.NetworkSpec{Name: "reserved", Subnets: []bridged.Subnet{{Prefix: r.Prefix}}}); err != nil {
		t.Fatal(err)
	}
	reserveIn(t, e, r.ID, "")
}

// TestForgottenReservation: what a caller forgot goes on the user's word, with its network, or by its own id.
func TestForgottenReservation(t *testing.T) {
	cfg := testConfig(t)
	e, stop := startFake(t, cfg, newFakeHost())
	defer stop()
	ctx := t.Context()
	reservedNetwork(t, e)
	const id = "10.99.0.0/24"
	if err := e.RemoveNetwork(ctx, id); bridged.Code(err) != "conflict" || !strings.Contains(err.Error(), "network reserved") {
		t.Errorf("removing a reservation that a network has: %v", err)
	}
	if err := e.RemoveNetwork(ctx, "reserved"); err != nil {
		t.Fatal(err)
	}
	if s := e.State(); len(s.Reservations)+len(s.Reserved) > 0 {
		t.Errorf("there are left %v and %v", s.Reservations, s.Reserved)
	}
	for _, giveBack := range []error{e.ReleaseAddress(ctx, id, ip("10.99.0.1")), e.ReleasePool(ctx, id)} { // what Docker's engine does if it knows it after all
		if giveBack != nil {
			t.Error(giveBack)
		}
	}
	if _, err := e.ReservePool(ctx, bridged.PoolSpec{Prefix: prefix(id)}); err != nil {
		t.Fatal(err)
	}
	reserveIn(t, e, id, "")
	_, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "n", Subnets: []bridged.Subnet{{Prefix: prefix("10.99.0.0/16")}}})
	if err == nil || !strings.Contains(err.Error(), "network rm "+id) {
		t.Errorf("a network in the way of a reservation: %v", err)
	}
	if err := e.RemoveNetwork(ctx, id); err != nil {
		t.Error(err)
	}
	if err := e.RemoveNetwork(ctx, id); bridged.Code(err) != "not-found" {
		t.Errorf("removing it twice: %v", err)
	}
}

// TestLostReservation: a reservation whose file can't be read any more, and that no log knows, takes its addresses along.
func TestLostReservation(t *testing.T) {
	cfg, h := testConfig(t), newFakeHost()
	e, stop := startFake(t, cfg, h)
	reservedNetwork(t, e)
	stop()
	if err := os.WriteFile(filepath.Join(cfg.StateDir, "reservations", "10.99.0.0%2F24.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(cfg.RunDir, "log")
	lines, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	kept := slices.DeleteFunc(strings.SplitAfter(string(lines), "\n"), func(line string) bool { return strings.Contains(line, `{"Reservations"`) })
	if err := os.WriteFile(log, []byte(strings.Join(kept, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	e, stop = startFake(t, cfg, h)
	defer stop()
	if s := e.State(); len(s.Reservations)+len(s.Reserved) > 0 {
		t.Errorf("there are %v and %v", s.Reservations, s.Reserved)
	}
	if _, err := e.AllocateInterface(t.Context(), bridged.InterfaceSpec{ID: "key", Network: "reserved", IPv4: ip("10.99.0.2")}); err != nil {
		t.Errorf("an address that was reserved: %v", err)
	}
}

// TestReservationsInOrder: what is done with a reservation as soon as others see it is not recorded before the reservation is, which would stay
// behind, or forget it.
func TestReservationsInOrder(t *testing.T) {
	cfg := testConfig(t)
	e, stop := startFake(t, cfg, newFakeHost())
	defer stop()
	ctx, spec := t.Context(), bridged.PoolSpec{Prefix: prefix("10.99.0.0/24")}
	id := spec.Prefix.String()
	file := filepath.Join(cfg.StateDir, "reservations", "10.99.0.0%2F24.json")
	for i := range 40 {
		reserved := make(chan error, 1)
		go func() {
			_, err := e.ReservePool(ctx, spec)
			reserved <- err
		}()
		for len(e.State().Reservations)+len(reserved) == 0 {
			runtime.Gosched()
		}
		var err error
		address := i%2 == 1
		if address {
			_, err = e.ReserveAddress(ctx, id, ip("10.99.0.7"))
		} else {
			err = e.ReleasePool(ctx, id)
		}
		if err := <-reserved; err != nil {
			t.Fatal(err)
		}
		if text, _ := os.ReadFile(file); err != nil || (len(text) > 0) != address || address && !strings.Contains(string(text), "10.99.0.7") {
			t.Fatalf("with an address %t, the file is %q (%v)", address, text, err)
		}
		if err := e.ReleasePool(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
}

// reboot takes away what is on a tmpfs.
func reboot(t testing.TB, cfg Config) {
	t.Helper()
	if err := os.RemoveAll(cfg.RunDir); err != nil {
		t.Fatal(err)
	}
}

func allocateOn(t testing.TB, e *Engine, key, network string) bridged.Joined {
	t.Helper()
	j, err := e.AllocateInterface(t.Context(), bridged.InterfaceSpec{ID: key, Network: network})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestRandomReservations walks at random through reservations, networks and leases on the same few subnets: an address is in use just while
// its reservation or an endpoint has it, and a restart finds everything as it was.
func TestRandomReservations(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			h, cfg := newFakeHost(), testConfig(t)
			e, stop := startFake(t, cfg, h)
			defer func() { stop() }()
			ctx := t.Context()
			for range 800 {
				h.failNext(rnd.IntN(20) * rnd.IntN(3))
				i := rnd.IntN(3)
				subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(i), 0}), 28)
				name, pool, key := fmt.Sprintf("n%d", i), bridged.ReservationID(subnet, netip.Prefix{}), fmt.Sprintf("l%d", rnd.IntN(8))
				var asked netip.Addr
				if rnd.IntN(2) == 0 {
					asked = netip.AddrFrom4([4]byte{10, 77, byte(i), byte(rnd.IntN(18))})
				}
				switch rnd.IntN(10) {
				case 0:
					_, _ = e.ReservePool(ctx, bridged.PoolSpec{Prefix: subnet})
				case 1:
					if rnd.IntN(10) == 0 {
						_ = e.ReleasePool(ctx, pool)
					}
				case 2, 3:
					_, _ = e.ReserveAddress(ctx, pool, asked)
				case 4:
					_ = e.ReleaseAddress(ctx, pool, asked)
				case 5:
					if _, reserved := e.State().Reservations[pool]; !reserved && rnd.IntN(50) > 0 {
						continue // else it is hardly ever reserved: a network is there most of the time
					}
					_, _, _ = e.CreateNetwork(ctx, bridged.NetworkSpec{Name: name, Subnets: []bridged.Subnet{{Prefix: subnet}}})
				case 6:
					_ = e.RemoveNetwork(ctx, name)
					_, _ = e.ReservePool(ctx, bridged.PoolSpec{Prefix: subnet})
				case 7, 8:
					for a := range e.State().Reserved { // what Docker's engine asks for
						if a.Pool == pool && rnd.IntN(2) == 0 {
							asked = a.Addr
						}
					}
					_, _ = e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: key, Network: name, IPv4: asked})
				case 9:
					_ = e.ReleaseInterface(ctx, key)
				}
			}
			h.failNext(0)
			e.settle()
			if seed%2 == 1 {
				checkPools(t, e)
				return
			}
			before := wholeOf(e)
			stop()
			e, stop = startFake(t, cfg, h)
			if d := cmp.Diff(before, wholeOf(e), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("a restart finds something else (-before +after):\n%s", d)
			}
			checkKernel(t, e, h)
			checkPools(t, e)
		})
	}
}

func wholeOf(e *Engine) bridged.Change {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.index.whole()
}

// checkPools holds the pools against who has addresses. It leaves them changed.
func checkPools(t *testing.T, e *Engine) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.index
	for id, pool := range x.pools {
		if id.IPv6 {
			continue
		}
		n, ok := x.Networks[id.Network]
		if r, reserved := x.Reservations[id.Network]; reserved {
			if n = x.ownerOf(r.Prefix); n.ID == "" {
				n = alone(r)
				n.IPv4.Gateway = netip.Addr{}
			}
			ok = true
		}
		if !ok {
			t.Errorf("a pool of nobody: %v", id)
			continue
		}
		if n.Name == bridged.NetworkBridge {
			continue
		}
		for a := n.IPv4.Prefix.Addr().Next(); n.IPv4.Prefix.Contains(a.Next()); a = a.Next() {
			want := x.isReserved(n, a) || x.hasAddr(n.ID, a) || a == n.IPv4.Gateway
			err := pool.Claim(a)
			if used := err != nil; used != want {
				t.Errorf("%s of %v is in use: %t, and wanted so: %t", a, id, used, want)
			}
			if err == nil {
				pool.Release(a)
			}
		}
	}
}
