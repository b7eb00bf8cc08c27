package ipam_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bridged/bridged/ipam"
)

func newPool(t testing.TB, c ipam.Config) *ipam.Pool {
	t.Helper()
	p, err := ipam.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// takeAll takes until there is nothing left, at most limit addresses.
func takeAll(t interface {
	Helper()
	Fatal(...any)
}, p *ipam.Pool, limit int) (got []netip.Addr) {
	t.Helper()
	for range limit {
		a, err := p.Take()
		if errors.Is(err, ipam.ErrExhausted) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a)
	}
	return got
}

func TestTakeAll(t *testing.T) {
	for _, tt := range []struct {
		prefix, rng, gateway string
		want                 []string
	}{
		{"10.0.0.0/29", "", "10.0.0.1", []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}},
		{"10.0.0.0/29", "", "10.0.0.6", []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}},
		{"10.0.0.0/24", "10.0.0.4/30", "10.0.0.1", []string{"10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"}},
		{"10.0.0.0/24", "10.0.0.252/30", "", []string{"10.0.0.252", "10.0.0.253", "10.0.0.254"}},
		{"10.0.0.0/30", "", "10.0.0.1", []string{"10.0.0.2"}},
		{"10.0.0.2/31", "", "10.0.0.2", []string{"10.0.0.3"}},
		{"10.0.0.2/31", "", "", []string{"10.0.0.2", "10.0.0.3"}},
		{"10.0.0.2/32", "", "", []string{"10.0.0.2"}},
		{"10.0.0.2/32", "", "10.0.0.2", nil},
		{"255.255.255.254/32", "", "", []string{"255.255.255.254"}},
		{"fd00::/126", "", "fd00::1", []string{"fd00::2", "fd00::3"}},
		{"fd00::2/127", "", "fd00::2", []string{"fd00::3"}},
		{"fd00::2/128", "", "", []string{"fd00::2"}},
		{"fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", "", "",
			[]string{"fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}},
	} {
		p := newPool(t, ipam.Config{Prefix: prefix(tt.prefix), Range: prefix(tt.rng), Gateway: addr(tt.gateway)})
		got := takeAll(t, p, 100)
		var text []string
		for _, a := range got {
			text = append(text, a.String())
		}
		if !slices.Equal(text, tt.want) {
			t.Errorf("%s range %q gateway %q: %v, want %v", tt.prefix, tt.rng, tt.gateway, text, tt.want)
		}
		if len(got) > 0 {
			p.Release(got[0])
			if a, err := p.Take(); err != nil || a != got[0] {
				t.Errorf("%s: after one release: %v, %v, want %v", tt.prefix, a, err, got[0])
			}
		}
	}
}

func TestClaimSaysWhich(t *testing.T) {
	p := newPool(t, ipam.Config{
		Prefix: prefix("10.0.0.0/24"), Range: prefix("10.0.0.128/25"), Gateway: addr("10.0.0.1"),
		Aux: map[string]netip.Addr{"printer": addr("10.0.0.9")},
	})
	p6 := newPool(t, ipam.Config{Prefix: prefix("fd00::/64"), Gateway: addr("fd00::1")})
	for _, tt := range []struct {
		pool *ipam.Pool
		addr string
		kind error
		want string
	}{
		{p, "10.0.0.7", nil, ""}, // outside the range, inside the subnet
		{p, "10.0.0.200", nil, ""},
		{p, "10.0.0.7", ipam.ErrInUse, "address 10.0.0.7 is already in use"},
		{p, "10.0.1.7", ipam.ErrUnusable, "address 10.0.1.7 is outside the subnet 10.0.0.0/24"},
		{p, "fd00::7", ipam.ErrUnusable, "address fd00::7 is outside the subnet 10.0.0.0/24"},
		{p, "::ffff:10.0.0.8", ipam.ErrUnusable, "address ::ffff:10.0.0.8 is outside the subnet 10.0.0.0/24"},
		{p, "10.0.0.0", ipam.ErrUnusable, "address 10.0.0.0 is the network address of 10.0.0.0/24"},
		{p, "10.0.0.255", ipam.ErrUnusable, "address 10.0.0.255 is the broadcast address of 10.0.0.0/24"},
		{p, "10.0.0.1", ipam.ErrInUse, "address 10.0.0.1 is the gateway's"},
		{p, "10.0.0.9", ipam.ErrInUse, "address 10.0.0.9 is the auxiliary address printer"},
		{p6, "fd00::", ipam.ErrUnusable, "address fd00:: is the subnet-router anycast address of fd00::/64"},
		{p6, "fd00::ffff:ffff:ffff:ffff", nil, ""}, // IPv6 has no broadcast address
		{p6, "fe80::1%eth0", ipam.ErrUnusable, "address fe80::1%eth0 is outside the subnet fd00::/64"},
	} {
		err := tt.pool.Claim(addr(tt.addr))
		if (err == nil) != (tt.kind == nil) || !errors.Is(err, tt.kind) || err != nil && err.Error() != tt.want {
			t.Errorf("Claim(%s) = %v, want %q", tt.addr, err, tt.want)
		}
	}
	p.Release(addr("10.0.0.7"))
	if err := p.Claim(addr("10.0.0.7")); err != nil {
		t.Errorf("a released address can't be claimed: %v", err)
	}
}

// model is a pool the naive way: a list of all addresses with what happened to each.
type model struct {
	hosts []netip.Addr // of the range, in order
	all   []netip.Addr // of the subnet
	given map[netip.Addr]bool
	used  map[netip.Addr]bool
	freed []netip.Addr
}

func newModel(c ipam.Config) *model {
	m := &model{given: map[netip.Addr]bool{}, used: map[netip.Addr]bool{}}
	for a := c.Prefix.Addr(); c.Prefix.Contains(a); a = a.Next() {
		m.all = append(m.all, a)
	}
	whole := m.all
	if c.Prefix.Addr().BitLen()-c.Prefix.Bits() > 1 {
		whole = whole[1:]
		if c.Prefix.Addr().Is4() {
			whole = whole[:len(whole)-1]
		}
	}
	for _, a := range whole {
		if a != c.Gateway && a != c.Aux["x"] && (!c.Range.IsValid() || c.Range.Contains(a)) {
			m.hosts = append(m.hosts, a)
		}
	}
	return m
}

func (m *model) take() netip.Addr {
	for _, a := range m.hosts {
		if !m.given[a] {
			m.claim(a)
			return a
		}
	}
	for _, a := range m.freed {
		if slices.Contains(m.hosts, a) {
			m.claim(a)
			return a
		}
	}
	return netip.Addr{}
}

func (m *model) claim(a netip.Addr) {
	m.given[a], m.used[a] = true, true
	if i := slices.Index(m.freed, a); i >= 0 {
		m.freed = slices.Delete(m.freed, i, i+1)
	}
}

func (m *model) release(a netip.Addr) {
	if m.used[a] {
		delete(m.used, a)
		m.freed = append(m.freed, a)
	}
}

func drawConfig(t *rapid.T) ipam.Config {
	v6 := rapid.Bool().Draw(t, "v6")
	base, width := addr("10.3.0.64"), 32
	if v6 {
		base, width = addr("fd00:3::40"), 128
	}
	c := ipam.Config{Prefix: netip.PrefixFrom(base, width-rapid.IntRange(0, 5).Draw(t, "host bits")).Masked()}
	m := newModel(ipam.Config{Prefix: c.Prefix})
	if rapid.Bool().Draw(t, "range") {
		a := rapid.SampledFrom(m.all).Draw(t, "in range")
		c.Range = netip.PrefixFrom(a, rapid.IntRange(c.Prefix.Bits(), width).Draw(t, "range bits")).Masked()
	}
	if rapid.Bool().Draw(t, "gateway") {
		c.Gateway = rapid.SampledFrom(m.hosts).Draw(t, "gateway address")
	}
	if a := rapid.SampledFrom(m.hosts).Draw(t, "aux"); a != c.Gateway {
		c.Aux = map[string]netip.Addr{"x": a}
	}
	return c
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		p, err := ipam.New(c)
		if err != nil {
			t.Fatal(err)
		}
		m := newModel(c)
		any := rapid.SampledFrom(m.all)
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				got, err := p.Take()
				if want := m.take(); got != want || (err == nil) != want.IsValid() {
					t.Fatalf("Take() = %v, %v, want %v", got, err, want)
				}
			},
			"claim": func(t *rapid.T) {
				a := any.Draw(t, "a")
				possible := newModel(ipam.Config{Prefix: c.Prefix, Gateway: c.Gateway, Aux: c.Aux}).hosts
				free := slices.Contains(possible, a) && !m.used[a]
				if err := p.Claim(a); (err == nil) != free {
					t.Fatalf("Claim(%v) = %v, free: %v", a, err, free)
				}
				if free {
					m.claim(a)
				}
			},
			"release": func(t *rapid.T) {
				a := any.Draw(t, "a")
				p.Release(a)
				m.release(a)
			},
			"restart": func(t *rapid.T) {
				next, freed := p.History()
				p, err = ipam.New(c)
				if err != nil {
					t.Fatal(err)
				}
				first := rapid.Bool().Draw(t, "history first")
				if first {
					p.Restore(next, freed)
				}
				for a := range m.used {
					if err := p.Claim(a); err != nil {
						t.Fatal(err)
					}
				}
				if !first {
					p.Restore(next, freed)
				}
			},
		})
	})
}

// What History promises: a Claim can stand for a Take when leases are replayed from a log.
func TestReplayFromLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		live, _ := ipam.New(c)
		replayed, _ := ipam.New(c)
		var used []netip.Addr
		for _, take := range rapid.SliceOf(rapid.Bool()).Draw(t, "take or release") {
			if take {
				a, err := live.Take()
				if err != nil {
					continue
				}
				used = append(used, a)
				if err := replayed.Claim(a); err != nil {
					t.Fatal(err)
				}
			} else if len(used) > 0 {
				i := rapid.IntRange(0, len(used)-1).Draw(t, "i")
				live.Release(used[i])
				replayed.Release(used[i])
				used = slices.Delete(used, i, i+1)
			}
		}
		if a, b := takeAll(t, live, 100), takeAll(t, replayed, 100); !slices.Equal(a, b) {
			t.Fatalf("live gives %v, replayed %v", a, b)
		}
	})
}

func TestRestoreIgnoresWhatDoesNotFit(t *testing.T) {
	p := newPool(t, ipam.Config{Prefix: prefix("10.0.0.0/29"), Gateway: addr("10.0.0.1")})
	if err := p.Claim(addr("10.0.0.3")); err != nil {
		t.Fatal(err)
	}
	p.Restore(addr("192.168.0.1"), []netip.Addr{
		addr("10.0.0.3"), // in use
		addr("10.0.0.1"), // the gateway's
		addr("10.0.0.5"), addr("10.0.0.5"),
		addr("192.168.0.7"),
		{},
	})
	var got []string
	for _, a := range takeAll(t, p, 100) {
		got = append(got, a.String())
	}
	if want := []string{"10.0.0.2", "10.0.0.4", "10.0.0.6", "10.0.0.5"}; !slices.Equal(got, want) {
		t.Errorf("taken: %v, want %v", got, want)
	}
}

// A huge pool forgets freed addresses, but loses none: in the end each one of them was given out once.
func TestHugePoolLosesNothing(t *testing.T) {
	p := newPool(t, ipam.Config{Prefix: prefix("10.0.0.0/14"), Gateway: addr("10.0.0.1")})
	const hosts = 1<<18 - 3
	for range hosts - 10 {
		a, err := p.Take()
		if err != nil {
			t.Fatal(err)
		}
		p.Release(a)
	}
	if _, freed := p.History(); len(freed) > 1<<16 {
		t.Errorf("%d freed addresses are remembered", len(freed))
	}
	seen := make(map[netip.Addr]bool, hosts)
	for _, a := range takeAll(t, p, hosts+1) {
		seen[a] = true
	}
	if len(seen) != hosts {
		t.Errorf("%d different addresses, want %d", len(seen), hosts)
	}
}

func TestLargeIPv6PoolsStaySmall(t *testing.T) {
	for _, s := range []string{"fd00::/64", "fd00::/8", "2000::/3"} {
		p := newPool(t, ipam.Config{Prefix: prefix(s), Gateway: ipam.FirstHost(prefix(s))})
		for range 100_000 {
			a, err := p.Take()
			if err != nil {
				t.Fatal(err)
			}
			p.Release(a)
		}
		if _, freed := p.History(); len(freed) > 1<<16 {
			t.Errorf("%s: %d freed addresses are remembered", s, len(freed))
		}
	}
}
