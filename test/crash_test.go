package test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// The daemon is killed at the n-th thing that the kernel announces, for many n, while clients make and remove sandboxes.
// After the next start everything that was acknowledged is there, everything else is not, and nothing is left over.
func TestKilledInTheMiddle(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6")
	w.bridged("network", "create", "--ipv6", "second")
	book := &ledger{want: make(map[string]bool)}
	for n := 1; n <= 24; n += 2 {
		watched := w.watch(t)
		var clients sync.WaitGroup
		for c := range 3 {
			clients.Go(func() { w.churn(book, fmt.Sprintf("n%dc%d", n, c), 20000+100*n+10*c) })
		}
		for range n {
			if err := watched.wait(flowtest.Patience); err != nil {
				t.Fatalf("killing at event %d: %v", n, err)
			}
		}
		d.Kill()
		clients.Wait()
		watched.close()
		d = w.daemon("--ipv6")
		w.consistent(t)
		book.check(t, w)
		if t.Failed() {
			t.Fatalf("after killing the daemon at event %d; its log:\n%s", n, d.Log.String())
		}
	}
	// Everything can be given back.
	for name, there := range book.want {
		if there {
			w.bridged("sandbox", "rm", name)
		}
	}
	for _, s := range decode[[]sandboxJSON](w, "sandbox", "ls", "--json") {
		w.bridged("sandbox", "rm", s.Name)
	}
	w.consistent(t)
	w.bridged("network", "rm", "second")
	w.settled()
}

// ledger is what clients were promised: sandboxes that are there, and that are not. What was not answered is in neither.
type ledger struct {
	mu   sync.Mutex
	want map[string]bool
}

func (l *ledger) note(name string, there bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.want[name] = there
}

func (l *ledger) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.want, name)
}

func (l *ledger) check(t *testing.T, w *world) {
	t.Helper()
	found := make(map[string]bool)
	for _, s := range decode[[]sandboxJSON](w, "sandbox", "ls", "--json") {
		found[s.Name] = true
	}
	for name, there := range l.want {
		if found[name] != there {
			t.Errorf("sandbox %s: there is %t, promised was %t", name, found[name], there)
		}
	}
}

// churn makes and removes sandboxes with ports until the daemon does not answer.
func (w *world) churn(book *ledger, name string, port int) {
	for i := range 8 {
		s := fmt.Sprintf("%s-%d", name, i)
		network := []string{"bridge", "second"}[i%2]
		if r := w.try("sandbox", "create", "--network", network, "-p", fmt.Sprintf("%d-%d:80-81", port+2*(i%5), port+2*(i%5)+1),
			"-p", fmt.Sprintf("%d:80/udp", port+i), s); r.code != 0 {
			return
		}
		book.note(s, true)
		if i%3 == 2 {
			continue
		}
		book.forget(s)
		if r := w.try("sandbox", "rm", s); r.code != 0 {
			return
		}
		book.note(s, false)
	}
}

// consistent holds what the commands say against the kernel: links, namespaces, addresses, elements, reservations.
func (w *world) consistent(t *testing.T) {
	t.Helper()
	w.settled()
	all := decode[[]sandboxJSON](w, "sandbox", "ls", "--json")
	var links, spaces []string
	for _, s := range all {
		spaces = append(spaces, s.Name)
		for _, e := range s.Networks {
			links = append(links, e.HostInterface)
		}
	}
	slices.Sort(links)
	slices.Sort(spaces)
	// Links go behind the answer.
	w.await(t, "the last links to go", func() bool {
		have := w.sandboxLinks()
		slices.Sort(have)
		return slices.Equal(have, links)
	})
	w.await(t, "the last namespaces to go", func() bool {
		have := w.names("/run/netns")
		slices.Sort(have)
		return slices.Equal(have, spaces)
	})
	host := linksOf(t, w.host)
	for _, s := range all {
		w.insideAsSaid(t, host, s)
	}
	w.elementsAsSaid(t)
}

// insideAsSaid checks a sandbox's interface against its description.
func (w *world) insideAsSaid(t *testing.T, host map[string]link, s sandboxJSON) {
	t.Helper()
	inside := linksOf(t, w.host.Open(t, s.Name, s.NetNS))
	for network, e := range s.Networks {
		l, ok := inside[e.Interface]
		if !ok {
			t.Errorf("%s has no %s", s.Name, e.Interface)
			continue
		}
		found := make(map[string]bool)
		for _, a := range l.AddrInfo {
			found[fmt.Sprintf("%s/%d", a.Local, a.PrefixLen)] = true
		}
		for _, want := range []string{fmt.Sprintf("%s/%d", e.IPAddress, e.IPPrefixLen),
			fmt.Sprintf("%s/%d", e.GlobalIPv6Address, e.GlobalIPv6PrefixLen)} {
			if !strings.HasPrefix(want, "/") && !found[want] {
				t.Errorf("%s on %s: %s is missing, there are %v", s.Name, network, want, found)
			}
		}
		port := host[e.HostInterface]
		if l.Address != e.MacAddress || l.State != "UP" || port.State != "UP" || port.Master == "" {
			t.Errorf("%s on %s: inside %+v, outside %+v, want %+v", s.Name, network, l, port, e)
		}
	}
}

// elementsAsSaid checks the published ports that nft lists, and the reservations, against `port ls`.
func (w *world) elementsAsSaid(t *testing.T) {
	t.Helper()
	ports := decode[[]portJSON](w, "port", "ls", "--json")
	have := 0
	for _, m := range []string{"publish4", "publish4any", "publish6", "publish6any"} {
		text := w.nft("list", "map", "inet", "bridged", m)
		if _, elements, ok := strings.Cut(text, "elements = {"); ok {
			have += strings.Count(elements, ",") + 1
		}
	}
	if have != len(ports) {
		t.Errorf("%d elements for %d published ports", have, len(ports))
	}
	for _, p := range ports {
		if err := w.reserved(p); err != nil {
			t.Error(err)
		}
	}
}

// reserved checks that nobody else on the host can have the port.
func (w *world) reserved(p portJSON) error {
	port, err := strconv.Atoi(p.HostPort)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(p.HostIP)
	if err != nil {
		return err
	}
	_, proto, _ := strings.Cut(p.Port, "/")
	if w.free(proto, netip.AddrPortFrom(ip, uint16(port))) {
		return fmt.Errorf("%s:%d/%s is published and not reserved", ip, port, proto)
	}
	return nil
}

// What somebody else has put at the path of a namespace whose making was cut off is left alone; what we had made goes.
func TestForeignNamespaceAfterCrash(t *testing.T) {
	for _, c := range []struct {
		name, point string
		theirs      bool
	}{
		{"before ours", "namespace's file made:1", true},
		{"none", "namespace mounted:1", false}, // the control
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newCrashWorld(t)
			w.begin(usual)
			w.tell(c.point)
			if err := w.attempt(steps{`POST sandboxes {"Name": "s"}`}); err == nil {
				t.Fatal("the daemon was not killed")
			}
			w.d.Wait()
			w.tell("")
			if c.theirs {
				w.host.Output(t, "ip", "netns", "add", "s")
			}
			w.begin(usual)
			if got := slices.Equal(w.names("/run/netns"), []string{"s"}); got != c.theirs {
				t.Errorf("there is %v", w.names("/run/netns"))
			}
			if err := w.attempt(steps{`POST sandboxes {"Name": "s"}`}); (err != nil) != c.theirs {
				t.Errorf("a sandbox of that name: %v", err)
			}
			if c.theirs {
				w.host.Output(t, "ip", "-n", "s", "link")
			}
		})
	}
}
