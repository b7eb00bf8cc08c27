package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bridged/bridged"
)

// sameState compares states: no map is as good as an empty one.
var sameState = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

// full is a request for everything that an attachment can have.
func full(t testing.TB, container, netns string) bridged.AttachmentSpec {
	spec := podnet(container, netns)
	spec.Ports = specs(t, "8080:80", "8053:53/udp")
	spec.Bandwidth = bridged.Bandwidth{Ingress: bridged.Rate{Rate: 8e6, Burst: 8e5}, Egress: bridged.Rate{Rate: 8e6, Burst: 8e5}}
	spec.Network.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")}
	return spec
}

// TestAttachFails: whatever step fails, nothing is left, the network that the request made among it; the same request again does it.
func TestAttachFails(t *testing.T) {
	for first, prepare := range map[string]func(*testing.T, *Engine, *fakeHost){
		"first of all": func(*testing.T, *Engine, *fakeHost) {},
		"second of its network": func(t *testing.T, e *Engine, h *fakeHost) {
			mustAttach(t, e, podnet("other", h.give()))
		},
		"second of its container": func(t *testing.T, e *Engine, h *fakeHost) {
			mustAttach(t, e, changed(podnet("c", "/run/given/c"), func(s *bridged.AttachmentSpec) { s.Key.Interface = "eth1" }))
		},
	} {
		t.Run(first, func(t *testing.T) {
			for step := 1; ; step++ {
				h := newFakeHost()
				e, stop := startFake(t, testConfig(t), h)
				h.spaces["/run/given/c"], h.given = bridged.NamespaceID{Dev: 4, Ino: 7}, 1
				prepare(t, e, h)
				before := e.State()
				h.failNext(step)
				_, err := e.Attach(t.Context(), full(t, "c", "/run/given/c"))
				failed := h.steps >= step
				h.failNext(0)
				checkKernel(t, e, h)
				if err != nil && !failed { // that forwarding can't be switched on is a warning
					t.Errorf("no step failed: %v", err)
				}
				if d := cmp.Diff(before, e.State(), sameState); err != nil && d != "" {
					t.Errorf("step %d fails (-before +after):\n%s", step, d)
				}
				if err != nil {
					mustAttach(t, e, full(t, "c", "/run/given/c"))
					checkKernel(t, e, h)
				}
				stop()
				if !failed {
					return
				}
			}
		})
	}
}

func mustAttach(t testing.TB, e *Engine, spec bridged.AttachmentSpec) bridged.Attachment {
	t.Helper()
	a, err := e.Attach(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestDetachFails: a detach that fails changes nothing, and the next one does it.
func TestDetachFails(t *testing.T) {
	for step := 1; ; step++ {
		h := newFakeHost()
		e, stop := startFake(t, testConfig(t), h)
		spec := full(t, "c", h.give())
		mustAttach(t, e, spec)
		h.failNext(step)
		err := e.Detach(t.Context(), spec.Key)
		failed := h.steps >= step
		h.failNext(0)
		if failed != (err != nil) {
			t.Errorf("step %d fails: %v", step, err)
		}
		if err := e.Detach(t.Context(), spec.Key); err != nil {
			t.Error(err)
		}
		checkKernel(t, e, h)
		if s := e.State(); len(s.Sandboxes)+len(s.Endpoints)+len(s.Ports)+len(h.objects.shapers) > 0 {
			t.Errorf("left: %+v", s)
		}
		stop()
		if !failed {
			return
		}
	}
}

// TestManyAttachments: 200 containers by 32 callers make one network once; half of them go, the engine is started anew in the middle, and
// the collection leaves just those that are valid.
func TestManyAttachments(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	e, stop := startFake(t, cfg, h)
	const many, callers = 200, 32
	each := func(do func(i int) error) {
		t.Helper()
		var group sync.WaitGroup
		numbers := make(chan int)
		for range callers {
			group.Go(func() {
				for i := range numbers {
					if err := do(i); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for i := range many {
			numbers <- i
		}
		close(numbers)
		group.Wait()
	}
	all := make([]bridged.AttachmentSpec, many)
	for i := range all {
		all[i] = podnet(fmt.Sprintf("c%d", i), h.give())
		all[i].Ports = specs(t, fmt.Sprintf("%d:80", 10_000+i))
	}
	var mu sync.Mutex
	addresses := make(map[netip.Addr]bool)
	each(func(i int) error {
		a, err := e.Attach(t.Context(), all[i])
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		addresses[a.IPs[0].Address.Addr()] = true
		return nil
	})
	checkKernel(t, e, h)
	if n := len(e.Networks()); n != 4 || len(addresses) != many {
		t.Fatalf("%d networks, want 4; %d addresses", n, len(addresses))
	}
	each(func(i int) error {
		if i%2 == 0 {
			return nil
		}
		return e.Detach(t.Context(), all[i].Key)
	})
	e.settle()
	stop()
	e, stop = startFake(t, cfg, h)
	defer stop()
	checkKernel(t, e, h)
	var valid []bridged.AttachmentKey
	for i := 0; i < many; i += 4 {
		valid = append(valid, all[i].Key)
	}
	done, err := e.CollectAttachments(t.Context(), bridged.AttachmentCollection{Network: "podnet", Valid: valid})
	if err != nil || len(done.Removed) != many/4 || len(done.Errors) > 0 {
		t.Errorf("collected %v, %v", done, err)
	}
	if none, err := e.CollectAttachments(t.Context(), bridged.AttachmentCollection{Network: "othernet"}); err != nil || len(none.Removed) > 0 {
		t.Errorf("the collection of another network took %v, %v", none.Removed, err)
	}
	checkKernel(t, e, h)
	for i := range all {
		if err := e.CheckAttachment(t.Context(), all[i]); (err == nil) != (i%4 == 0) || err != nil && !errors.Is(err, bridged.ErrNotFound) {
			t.Errorf("check of %d: %v", i, err)
		}
	}
	if n := len(e.Sandboxes()); n != many/4 {
		t.Errorf("%d sandboxes are left", n)
	}
}

// TestCollectGoesOn: one that can't be taken away keeps no other.
func TestCollectGoesOn(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	for i := range 3 {
		mustAttach(t, e, podnet(fmt.Sprintf("c%d", i), h.give()))
	}
	h.failNext(2)
	done, err := e.CollectAttachments(t.Context(), bridged.AttachmentCollection{Network: "podnet"})
	h.failNext(0)
	if err != nil || len(done.Removed) != 2 || len(done.Errors) != 1 || !strings.Contains(done.Errors[0], "eth0 of container c") {
		t.Errorf("collected %+v, %v", done, err)
	}
}

// TestAttachmentsOfOneContainer: each has its own routes, ports and addresses; the last that goes takes the sandbox along.
func TestAttachmentsOfOneContainer(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	netns := h.give()
	first := podnet("c", netns)
	first.Ports = specs(t, "8080:80")
	second := changed(podnet("c", netns), func(s *bridged.AttachmentSpec) { s.Key.Interface, s.Ports = "net1", specs(t, "8081:80") })
	third := changed(podnet("c", netns), func(s *bridged.AttachmentSpec) {
		s.Key.Network, s.Key.Interface, s.Network.Bridge = "bridge", "net2", "cni1"
		s.Network.IPv4.Prefix, s.Network.IPv6.Prefix = netip.MustParsePrefix("10.89.0.0/16"), netip.MustParsePrefix("fd00:89::/64")
	})
	for _, spec := range []bridged.AttachmentSpec{first, second, third} {
		mustAttach(t, e, spec)
	}
	checkKernel(t, e, h)
	if _, err := e.Network("cni-bridge"); err != nil {
		t.Errorf("the network called bridge: %v", err)
	}
	info, err := e.Sandbox("c")
	if err != nil || len(info.Joined) != 3 || len(info.Ports) != 4 {
		t.Errorf("the sandbox is %+v, %v", info, err)
	}
	if err := e.Detach(t.Context(), second.Key); err != nil {
		t.Fatal(err)
	}
	checkKernel(t, e, h)
	if info, _ := e.Sandbox("c"); len(info.Joined) != 2 || len(info.Ports) != 2 || info.Ports[0].Binding.HostPort != 8080 {
		t.Errorf("after the second went the sandbox is %+v", info)
	}
	for _, wrong := range []func(*bridged.AttachmentKey){
		func(k *bridged.AttachmentKey) { k.Network = "othernet" }, func(k *bridged.AttachmentKey) { k.Container = "d" }, func(k *bridged.AttachmentKey) { k.Interface = "eth9" },
	} {
		key := first.Key
		wrong(&key)
		if err := e.Detach(t.Context(), key); err != nil {
			t.Errorf("%v: %v", key, err)
		}
	}
	if _, err := e.Connect(t.Context(), bridged.ConnectSpec{Network: "bridge", Sandbox: "c"}); !errors.Is(err, bridged.ErrConflict) {
		t.Errorf("connecting a runtime's container: %v", err)
	}
	if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "sharing", Network: "container:c"}); !errors.Is(err, bridged.ErrConflict) {
		t.Errorf("sharing a runtime's container: %v", err)
	}
	h.vanish(netns) // a namespace that is gone keeps nothing
	for _, spec := range []bridged.AttachmentSpec{first, third} {
		if err := e.Detach(t.Context(), spec.Key); err != nil {
			t.Error(err)
		}
	}
	checkKernel(t, e, h)
	if s := e.State(); len(s.Sandboxes)+len(s.Endpoints)+len(s.Ports) > 0 {
		t.Errorf("left: %+v", s)
	}
}

// TestAdaptNetwork: a network becomes what the next attachment says, with what is in it; what can't be changed is said.
func TestAdaptNetwork(t *testing.T) {
	gateway := netip.MustParseAddr("10.88.0.9")
	for name, tt := range map[string]struct {
		change func(*bridged.AttachmentNetwork)
		// refused is what the error says while something is attached; "": it is done.
		refused string
		// empty is the same for a network that nothing is in.
		empty string
	}{
		"the same":     {func(*bridged.AttachmentNetwork) {}, "", ""},
		"masquerade":   {func(n *bridged.AttachmentNetwork) { n.Masquerade = false }, "", ""},
		"kept apart":   {func(n *bridged.AttachmentNetwork) { n.Isolated = true }, "", ""},
		"source guard": {func(n *bridged.AttachmentNetwork) { n.SourceGuard = false }, "", ""},
		"ingress":      {func(n *bridged.AttachmentNetwork) { n.Ingress = bridged.IngressSameBridge }, "", ""},
		"sources":      {func(n *bridged.AttachmentNetwork) { n.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, "", ""},
		"MTU":          {func(n *bridged.AttachmentNetwork) { n.MTU = 1400 }, "", ""},
		"no address":   {func(n *bridged.AttachmentNetwork) { n.Gateway = false }, "", ""},
		"ranges": {func(n *bridged.AttachmentNetwork) {
			n.IPv4.Ranges = []bridged.AddrRange{{First: netip.MustParseAddr("10.88.9.1")}}
		}, "", ""},
		"bridge": {func(n *bridged.AttachmentNetwork) { n.Bridge = "cni7" }, "its bridge is cni0 and can't become cni7", "its bridge is cni0"},
		"subnet": {func(n *bridged.AttachmentNetwork) { n.IPv4.Prefix = netip.MustParsePrefix("10.90.0.0/16") }, "its subnet is 10.88.0.0/16, and the configuration says 10.90.0.0/16", "set forceAddress"},
		"subnet, forced": {func(n *bridged.AttachmentNetwork) {
			n.IPv4.Prefix, n.Force = netip.MustParsePrefix("10.90.0.0/16"), true
		}, "while containers are attached", ""},
		"gateway":         {func(n *bridged.AttachmentNetwork) { n.IPv4.Gateway = gateway }, "its gateway is 10.88.0.1, and the configuration says 10.88.0.9", "set forceAddress"},
		"gateway, forced": {func(n *bridged.AttachmentNetwork) { n.IPv4.Gateway, n.Force = gateway, true }, "while containers are attached", ""},
		"IPv6 gone":       {func(n *bridged.AttachmentNetwork) { n.IPv6 = bridged.Subnet{} }, "has none of its family", "set forceAddress"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, empty := range []bool{false, true} {
				h := newFakeHost()
				e, stop := startFake(t, testConfig(t), h)
				old := full(t, "old", h.give())
				old.Network.Sources = nil
				mustAttach(t, e, old)
				refused := tt.refused
				if empty {
					refused = tt.empty
					if err := e.Detach(t.Context(), old.Key); err != nil {
						t.Fatal(err)
					}
				}
				next := podnet("new", h.give())
				tt.change(&next.Network)
				_, err := e.Attach(t.Context(), next)
				if refused == "" && err != nil || refused != "" && (!errors.Is(err, bridged.ErrConflict) || !strings.Contains(err.Error(), refused)) {
					t.Errorf("empty %v: %v, want %q", empty, err, refused)
				}
				checkKernel(t, e, h)
				stop()
			}
		})
	}
}

// TestAttachRefuses: what can't be is said, by a kind that a runtime can act on, and nothing is changed.
func TestAttachRefuses(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	taken := h.give()
	if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "ours", NetNS: taken}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AllocateInterface(t.Context(), bridged.InterfaceSpec{ID: "lease"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.CreateNetwork(t.Context(), bridged.NetworkSpec{Name: "ournet"}); err != nil {
		t.Fatal(err)
	}
	free := h.give()
	mustAttach(t, e, changed(podnet("there", h.give()), func(s *bridged.AttachmentSpec) { s.Ports = specs(t, "9090:90") }))
	before := e.State()
	prefix, ip := netip.MustParsePrefix, netip.MustParseAddr
	for text, tt := range map[string]struct {
		kind   error
		change func(*bridged.AttachmentSpec)
	}{
		"the network needs a name": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Key.Network = "" }},
		"invalid network name":     {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Key.Network = "../x" }},
		"invalid container name":   {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Key.Container = "a/b" }},
		"invalid interface name":   {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Key.Interface = "sixteen-bytes-xx" }},
		"taken in every namespace": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Key.Interface = "lo" }},
		"\"all\": it is taken":     {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.Bridge = "all" }},
		"it is there twice": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) {
			s.Inside.Routes = []bridged.Route{{Dst: prefix("10.9.0.0/16")}, {Dst: prefix("10.9.0.0/16")}}
		}},
		"must be absolute":                 {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.NetNS = "run/x" }},
		"there is no network namespace at": {bridged.ErrNotFound, func(s *bridged.AttachmentSpec) { s.NetNS = "/run/nothing" }},
		"is sandbox ours already":          {bridged.ErrConflict, func(s *bridged.AttachmentSpec) { s.NetNS = taken }},
		"is no container of a CNI runtime": {bridged.ErrConflict, func(s *bridged.AttachmentSpec) { s.Key.Container = "ours" }},
		"the key of a lease":               {bridged.ErrConflict, func(s *bridged.AttachmentSpec) { s.Key.Container = "lease" }},
		"in another namespace":             {bridged.ErrConflict, func(s *bridged.AttachmentSpec) { s.Key.Container, s.Key.Interface = "there", "eth1" }},
		"was not made for this CNI":        {bridged.ErrConflict, func(s *bridged.AttachmentSpec) { s.Key.Network = "ournet" }},
		"is that of network podnet":        {bridged.ErrConflict, func(s *bridged.AttachmentSpec) { s.Key.Network = "second" }},
		"invalid bridge name":              {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.Bridge = "bv0" }},
		"invalid MTU 67":                   {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.MTU = 67 }},
		"too small for IPv6":               {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.MTU = 1279 }},
		"invalid MTU 70000":                {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Inside.MTU = 70000 }},
		"invalid ingress policy":           {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.Ingress = "closed" }},
		"is no IPv4 subnet":                {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.IPv4.Prefix = prefix("fd00::/64") }},
		"subnet 127.0.0.0/8":               {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.IPv4.Prefix = prefix("127.0.0.0/8") }},
		"outside the subnet":               {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.IPv4.Gateway = ip("10.1.0.1") }},
		"ends before it begins": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) {
			s.Network.IPv4.Ranges = []bridged.AddrRange{{First: ip("10.88.0.9"), Last: ip("10.88.0.8")}}
		}},
		"promiscuous mode":                {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.Promisc = true }},
		"a source guard could hold":       {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.IPv4, s.Network.IPv6 = bridged.Subnet{}, bridged.Subnet{} }},
		"can't keep its containers apart": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.Isolated, s.Network.Gateway = true, false }},
		"can't stay down":                 {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Inside.Down = true }},
		"one address of each family":      {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.IPs = []netip.Addr{ip("10.88.0.5"), ip("10.88.0.6")} }},
		"it is outside the ranges":        {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.IPs = []netip.Addr{ip("10.89.0.5")} }},
		"no subnet of its family": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) {
			s.Network.IPv6, s.IPs = bridged.Subnet{}, []netip.Addr{ip("fd00:88::5")}
		}},
		"already in use":    {bridged.ErrConflict, func(s *bridged.AttachmentSpec) { s.IPs = []netip.Addr{ip("10.88.0.2")} }},
		"the gateway's":     {bridged.ErrConflict, func(s *bridged.AttachmentSpec) { s.IPs = []netip.Addr{ip("10.88.0.1")} }},
		"multicast address": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.MAC = bridged.MAC{1} }},
		"without host bits": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Inside.Routes = []bridged.Route{{Dst: prefix("10.1.0.1/16")}} }},
		"of the other family": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) {
			s.Inside.Routes = []bridged.Route{{Dst: prefix("10.1.0.0/16"), Gateway: ip("fd00::1")}}
		}},
		"not in the network's subnet": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) {
			s.Inside.Routes = []bridged.Route{{Dst: prefix("10.1.0.0/16"), Gateway: ip("192.168.3.1")}}
		}},
		"priority -1": {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) {
			s.Inside.Routes = []bridged.Route{{Dst: prefix("10.1.0.0/16"), Priority: -1}}
		}},
		`cannot set sysctl "kernel.panic"`:    {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Sysctls = map[string]string{"kernel.panic": "1"} }},
		`cannot set sysctl "net/../kernel/x"`: {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Sysctls = map[string]string{"net/../kernel/x": "1"} }},
		`cannot set sysctl "net..ipv4"`:       {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Sysctls = map[string]string{"net..ipv4": "1"} }},
		"want one line":                       {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Sysctls = map[string]string{"net.core.somaxconn": "1\n2"} }},
		"there is no container port 0":        {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Ports = []bridged.PortSpec{{Proto: bridged.TCP}} }},
		"use tcp, udp or sctp":                {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Ports = []bridged.PortSpec{{ContainerPort: 80, Proto: 1}} }},
		"port is already allocated":           {bridged.ErrConflict, func(s *bridged.AttachmentSpec) { s.Ports = specs(t, "9090:90") }},
		"a rate and a burst go together":      {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Bandwidth.Ingress.Rate = 1000 }},
		"at least 8 each":                     {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Bandwidth.Egress = bridged.Rate{Rate: 1, Burst: 1} }},
		"invalid alias name":                  {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Aliases = []string{"a b"} }},
		"invalid prefix":                      {bridged.ErrInvalid, func(s *bridged.AttachmentSpec) { s.Network.Sources = []netip.Prefix{{}} }},
	} {
		_, err := e.Attach(t.Context(), changed(podnet("c", free), tt.change))
		if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), text) {
			t.Errorf("want %v: …%s…, got %v", tt.kind, text, err)
		}
	}
	checkKernel(t, e, h)
	if d := cmp.Diff(before, e.State(), sameState); d != "" {
		t.Errorf("-before +after:\n%s", d)
	}
}

// TestDetachSpooled: what was asked for while there was no daemon is done by the next one, once; files that say nothing are told and go, and an
// attachment that is younger than its file stays.
func TestDetachSpooled(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	cfg.DetachSpool = filepath.Join(t.TempDir(), "detach")
	e, stop := startFake(t, cfg, h)
	for _, name := range []string{"gone", "again", "stays"} {
		mustAttach(t, e, podnet(name, h.give()))
	}
	stop()
	if err := os.Mkdir(cfg.DetachSpool, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(cfg.DetachSpool, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := func(container string) string {
		text, err := json.Marshal(podnet(container, "").Key)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write("1.json", key("gone"))
	write("2.json", key("again"))
	write("3.json", key("never there"))
	write("4.json", key("unheard-of"))
	write("5.json", "{")
	write("6.json", strings.Repeat(" ", 5000)+key("stays"))
	write(".7.json", key("stays"))
	write("8.tmp", key("stays"))
	if err := os.Symlink("/dev/zero", filepath.Join(cfg.DetachSpool, "9.json")); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(filepath.Join(cfg.DetachSpool, "2.json"), old, old); err != nil {
		t.Fatal(err)
	}
	e, stop = startFake(t, cfg, h)
	defer stop()
	checkKernel(t, e, h)
	var names []string
	for _, s := range e.Sandboxes() {
		names = append(names, s.Name)
	}
	if !slices.Equal(names, []string{"again", "stays"}) {
		t.Errorf("attached are %v", names)
	}
	left, err := os.ReadDir(cfg.DetachSpool)
	if err != nil || len(left) != 2 {
		t.Errorf("left are %v, %v", left, err)
	}
	warnings := strings.Join(e.Status().Warnings, "\n")
	for _, file := range []string{"3.json", "5.json", "6.json", "9.json"} {
		if !strings.Contains(warnings, file) {
			t.Errorf("nobody is told of %s:\n%s", file, warnings)
		}
	}
}

// TestAttachmentCollected: a container whose namespace died is collected as any sandbox.
func TestAttachmentCollected(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	paths := map[string]string{"dead": h.give(), "alive": h.give()}
	for name, path := range paths {
		mustAttach(t, e, podnet(name, path))
	}
	h.vanish(paths["dead"])
	e.sweepThrough()
	checkKernel(t, e, h)
	if all := e.Sandboxes(); len(all) != 1 || all[0].Name != "alive" {
		t.Errorf("left are %v of %v", all, slices.Collect(maps.Keys(paths)))
	}
	if err := e.Detach(t.Context(), podnet("dead", "").Key); err != nil {
		t.Error(err)
	}
}
