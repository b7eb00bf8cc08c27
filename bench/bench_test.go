package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
	"github.com/bridged/bridged/internal/fault"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/nft"
)

func TestMain(m *testing.M) {
	if os.Getenv(insideVariable) != "" {
		os.Exit(inside())
	}
	nstest.PrivateMounts(m)
}

// Without any peer's program, and without a daemon, everything that is left is measured, what is missing is named, and nothing stays.
func TestBare(t *testing.T) {
	nstest.NeedRoot(t)
	t.Setenv("PATH", "")
	t.Setenv("TMPDIR", t.TempDir())
	before := traces(t)
	r := quick(t, options{budget: time.Millisecond})
	if diff := cmp.Diff(before, traces(t)); diff != "" {
		t.Errorf("the run left something (-before, +after):\n%s", diff)
	}
	for _, p := range r.Peers {
		needsProgram := slices.Contains([]string{
			report.HTTP, report.Ping, report.NFTBinary, report.IPTables, report.IPTablesOld, report.Restore, report.RestoreOld, report.IPBatch,
			report.CNI, report.Docker,
		}, p.Name)
		if (p.Missing != "") != needsProgram {
			t.Errorf("peer %s is missing: %q", p.Name, p.Missing)
		}
	}
	for _, k := range []report.Key{
		{Workload: "publish", Peer: report.Raw, Ports: 1000}, {Workload: "unpublish", Peer: report.Engine},
		{Workload: "bulk", Peer: report.NFT, Size: 1000}, {Workload: "range", Peer: report.GoogleRule, Size: 1000},
		{Workload: "concurrent", Peer: report.Engine, Callers: crowd},
		{Workload: "attach", Peer: report.Link, Size: 1}, {Workload: "detach", Peer: report.Engine, Size: 1},
		{Workload: "fleet attach", Peer: report.Engine, Ports: 1000, Size: 32},
		{Workload: "restart", Peer: report.Engine, Ports: 500, Endpoints: 50},
		{Workload: "tcp connections", Peer: report.NoRules, Ports: 1}, {Workload: "udp flows", Peer: report.GoogleElement, Ports: 1000},
		{Workload: "tcp stream", Peer: report.NFT, Ports: 1000},
	} {
		if row, ok := r.Row(k); !ok || row.N == 0 || row.P50 <= 0 || row.Max < row.P50 {
			t.Errorf("%+v: %+v", k, row)
		}
	}
}

// With the peers that are here, what each made is found in the kernel, and packets arrive.
func TestPeers(t *testing.T) {
	nstest.NeedRoot(t)
	r := quick(t, options{budget: time.Millisecond, only: "publish,attach"})
	for _, p := range r.Peers {
		if p.Missing == "" && p.Name != report.NoRules && !slices.ContainsFunc(r.Rows, func(row report.Row) bool { return row.Peer == p.Name && row.N > 0 }) {
			t.Errorf("peer %s, version %s, was not measured", p.Name, p.Version)
		}
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"<svg", report.Raw, report.Engine, "publish in nft : raw floor", r.Noise.Verdict()[:5]} {
		if !strings.Contains(string(page), word) {
			t.Errorf("the page does not say %q", word)
		}
	}
}

// quick runs the benchmark as the command does.
func quick(t *testing.T, o options) *report.Report {
	t.Helper()
	o.quick = true
	r, err := measure(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		t.Error(f)
	}
	return r
}

// traces are where a run could leave something: mounts, named namespaces, processes, temporary files.
func traces(t *testing.T) map[string][]string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{"mounts": strings.Split(string(mounts), "\n")}
	for _, dir := range []string{"/run", os.TempDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			found[dir] = append(found[dir], e.Name())
		}
	}
	children, err := os.ReadFile("/proc/thread-self/children")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	found["children"] = strings.Fields(string(children))
	return found
}

// A difference between the kernel and what it should hold is found, whatever it is; without one there is no complaint.
func TestCheck(t *testing.T) {
	nstest.NeedRoot(t)
	p, err := newNFT("check", nft.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	ports := some(firstPort, 20)
	if err := p.publish(ports)(); err != nil {
		t.Fatal(err)
	}
	if err := check(p, ports, firstSpare); err != nil {
		t.Errorf("what is there is not found: %v", err)
	}
	for _, test := range []struct {
		name  string
		ports []uint16
		free  uint16
		says  string
	}{
		{"one is missing", some(firstPort, 21), firstSpare, "port 10020/tcp leads to invalid AddrPort instead of"},
		{"one is left", some(firstPort, 19), firstSpare, "port 10019/tcp is left"},
		{"one is not free", ports, firstPort, "can be reached"},
	} {
		if err := check(p, test.ports, test.free); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
	links, err := p.w.container.links()
	if err != nil || !slices.Equal(links, []string{"eth0"}) {
		t.Errorf("links of the container: %v, %v", links, err)
	}
	if err := down(p.w.container, "eth0"); err != nil {
		t.Fatal(err)
	}
	if err := p.w.reaches(p.w.container, ports[0]); err == nil {
		t.Error("packets arrive although the container's link is down")
	}
}

// The floor writes the messages that package nft writes.
func TestElementBatch(t *testing.T) {
	nstest.NeedRoot(t)
	var written []fault.Message
	p, err := newNFT("batch", nft.Options{Fault: func(d fault.Datagram) fault.Fault {
		for _, m := range d.Messages {
			m.Body = slices.Clone(m.Body) // it is good until we return
			written = append(written, m)
		}
		return fault.Fault{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	for _, n := range []int{1, 2, 5000} { // 5,000 need several messages
		ports := some(firstPort, n)
		elements := make([]nft.Element, n)
		for i, port := range ports {
			elements[i] = p.published(port)
		}
		for _, change := range []struct {
			add bool
			do  op
		}{{true, p.publish(ports)}, {false, p.unpublish(ports)}} {
			written = nil
			if err := change.do(); err != nil {
				t.Fatal(err)
			}
			b, err := elementBatch(elements, change.add)
			if err != nil {
				t.Fatal(err)
			}
			var want []fault.Message
			for len(b) > 0 {
				size := binary.NativeEndian.Uint32(b)
				want = append(want, fault.Message{
					Kind: binary.NativeEndian.Uint16(b[4:]), Flags: binary.NativeEndian.Uint16(b[6:]), Body: b[unix.SizeofNlMsghdr:size],
				})
				b = b[size:]
			}
			if diff := cmp.Diff(written, want); diff != "" {
				t.Errorf("%d elements, added: %v: the package's messages (-) and the floor's (+) differ:\n%.2000s", n, change.add, diff)
			}
		}
	}
}

// Peers that do less than they say are found, although all their calls succeed.
func TestIdlers(t *testing.T) {
	nstest.NeedRoot(t)
	p, err := newRawAttacher("idlers")
	if err != nil {
		t.Fatal(err)
	}
	containers, err := p.w.containers(1)
	t.Cleanup(func() {
		if err := errors.Join(closeAll(containers), p.close()); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	try := func(proto bridged.Proto, p publisher) error {
		p.world().proto = proto
		defer func() { p.world().proto = bridged.TCP }()
		return (&host{publisher: p}).try(some(firstPort, 3), publisher.publish, publisher.unpublish)
	}
	together := func(p publisher) error {
		callers, err := p.callers(4)
		return errors.Join(err, (&host{publisher: p}).together(callers))
	}
	attached := func(a attacher) error {
		containers := slices.Repeat(containers, pool)
		return (&attachHost{attacher: a, containers: containers, sizes: []int{1, 3}}).check()
	}
	for _, test := range []struct {
		name string
		err  error
		says string // "": nothing is wrong
	}{
		{"ports", try(bridged.TCP, p), ""},
		{"ports, nothing done", try(bridged.TCP, idler{p}), "port 10000/tcp leads to invalid AddrPort"},
		{"UDP ports", try(bridged.UDP, p), ""},
		{"UDP ports, TCP in their place", try(bridged.UDP, misheard{p}), "port 10000/udp leads to invalid AddrPort"},
		{"callers", together(p), ""},
		{"callers, nothing done", together(idler{p}), "leads to invalid AddrPort"},
		{"attach", attached(p), ""},
		{"attach, first port only", attached(miser{p}), "with 3 ports: port 40002/tcp of a container leads to invalid AddrPort"},
	} {
		if test.says == "" && test.err != nil || test.says != "" && (test.err == nil || !strings.Contains(test.err.Error(), test.says)) {
			t.Errorf("%s: %v, want %q", test.name, test.err, test.says)
		}
	}
}

// idler publishes nothing.
type idler struct{ publisher }

func (idler) publish([]uint16) op               { return nothing }
func (idler) unpublish([]uint16) op             { return nothing }
func (p idler) callers(n int) ([]caller, error) { return many(p, n), nil }

// miser publishes a container's first port only.
type miser struct{ attacher }

func (m miser) attach(c *container, ports []uint16) ([]step, error) {
	return m.attacher.attach(c, ports[:1])
}

func (m miser) detach(c *container, ports []uint16) ([]step, error) {
	return m.attacher.detach(c, ports[:1])
}

// misheard publishes TCP ports whatever it is told.
type misheard struct{ *rawAttacher }

func (m misheard) publish(ports []uint16) op { return m.as(ports, m.rawAttacher.publish) }

func (m misheard) unpublish(ports []uint16) op { return m.as(ports, m.rawAttacher.unpublish) }

func (m misheard) as(ports []uint16, prepare func([]uint16) op) op {
	proto := m.w.proto
	m.w.proto = bridged.TCP
	defer func() { m.w.proto = proto }()
	return prepare(ports)
}

// Each lane gets its budget and its least number of operations; one that fails stops and does not stop the others, one that is too slow for
// its budget is measured once, and one that stays has as many turns as any other.
func TestTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sleep := func(d time.Duration) func(int, samples) error {
			return func(n int, s samples) error {
				for range n {
					if err := s.time("work", func() error { time.Sleep(d); return nil }); err != nil {
						return err
					}
				}
				return nil
			}
		}
		beside := besideLane(report.Key{Peer: "beside"})
		lanes := []*lane{
			{key: report.Key{Peer: "quick"}, most: 1000, cycle: sleep(10 * time.Microsecond)},
			{key: report.Key{Peer: "few at a time"}, most: 8, cycle: sleep(10 * time.Microsecond)},
			{key: report.Key{Peer: "slow"}, most: 1000, cycle: sleep(3 * time.Millisecond)},
			{key: report.Key{Peer: "very slow"}, most: 1000, cycle: sleep(time.Second)},
			{key: report.Key{Peer: "staying"}, most: 1, stays: true, beside: beside, cycle: func(n int, s samples) error {
				return errors.Join(sleep(time.Millisecond)(n, beside.samples), sleep(2*time.Millisecond)(n, s))
			}},
			{key: report.Key{Peer: "broken"}, most: 1000, cycle: func(int, samples) error { return errors.New("no") }},
		}
		takeTurns(t.Context(), pace{budget: 4 * time.Millisecond, slice: time.Millisecond, least: 5}, lanes, func() {})
		// The quick lane's turns have 64 operations, which take more than half a slice.
		for i, want := range []int{7 * 64, 50 * 8, 5, 1, 50, 0} {
			if n := lanes[i].count(); n != want {
				t.Errorf("lane %q made %d operations, want %d", lanes[i].key.Peer, n, want)
			}
			if failed := lanes[i].err != nil; failed != (want == 0) {
				t.Errorf("lane %q: %v", lanes[i].key.Peer, lanes[i].err)
			}
		}
		if n := beside.count(); n != 50 {
			t.Errorf("%d operations were measured beside 50", n)
		}
		all := rows("quick", lanes)
		i := slices.IndexFunc(all, func(r report.Row) bool { return r.Peer == "slow" })
		if len(all) != 5 || i < 0 || all[i].Ratio != 300 || all[i].Floor != "quick" {
			t.Errorf("rows: %+v", all)
		}
	})
}

// Control groups of runs that are no more are removed, in both versions; those of others stay.
func TestStaleControlGroups(t *testing.T) {
	root := t.TempDir()
	const none = 1 << 30 // no process has this number
	for _, dir := range []string{
		fmt.Sprintf("memory/bridged-bench-%d/container", none), fmt.Sprintf("bridged-bench-%d/container", none),
		fmt.Sprintf("memory/bridged-bench-%d", os.Getppid()), "bridged-bench-x", "memory/other",
	} {
		if err := os.MkdirAll(root+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeStaleControlGroups(root); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(root + "/*/*")
	want := []string{fmt.Sprintf("%s/memory/bridged-bench-%d", root, os.Getppid()), root + "/memory/other"}
	if diff := cmp.Diff(want, left); diff != "" || err != nil || !exists(root+"/bridged-bench-x") || exists(fmt.Sprintf("%s/bridged-bench-%d", root, none)) {
		t.Errorf("left: %s, %v", diff, err)
	}
}

// What selects nothing is refused, and told what there is.
func TestSelected(t *testing.T) {
	for _, test := range []struct {
		only string
		want []string // nil: it is refused
	}{
		{"publish", []string{"publish"}}, {"detach,unpublish", []string{"attach", "publish"}}, {"range,", []string{"range"}},
		{",", nil}, {"ports", nil}, {"publish,ports", nil},
	} {
		switch err := checkOnly(test.only); {
		case (err == nil) != (test.want != nil), err != nil && !strings.Contains(err.Error(), "there are publish, bulk"):
			t.Errorf("%q: %v", test.only, err)
		case err == nil && !slices.Equal(selected(test.only), test.want):
			t.Errorf("%q selects %v, want %v", test.only, selected(test.only), test.want)
		}
	}
	if err := checkOnly(""); err != nil {
		t.Errorf("all: %v", err)
	}
}

// The files of a report are made beforehand, have their names when they are whole, and leave nothing when they are not wanted.
func TestOutputs(t *testing.T) {
	dir := t.TempDir()
	page := dir + "/page.html"
	if err := os.WriteFile(page, []byte("earlier"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := outputs(options{htmlFile: dir}); err == nil {
		t.Error("a directory is no file")
	}
	if _, err := outputs(options{jsonFile: page, htmlFile: dir + "/none/page.html"}); err == nil || !strings.Contains(err.Error(), "/none/page.html") {
		t.Errorf("a directory that is not there: %v", err)
	}
	files, err := outputs(options{jsonFile: os.DevNull, htmlFile: page})
	if err != nil {
		t.Fatal(err)
	}
	discard(files)
	if text, err := os.ReadFile(page); string(text) != "earlier" {
		t.Errorf("the page was discarded, and says %q, %v", text, err)
	}
	if files, err = outputs(options{jsonFile: os.DevNull, htmlFile: page}); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := f.write(new(report.Report)); err != nil {
			t.Error(err)
		}
	}
	discard(files)
	if text, err := os.ReadFile(page); !strings.Contains(string(text), "</html>") {
		t.Errorf("the page says %q, %v", text, err)
	}
	if left, err := filepath.Glob(dir + "/.*"); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Errorf("%s: %v, %v", os.DevNull, info, err)
	}
}

// What has no floor of its own size is held against the one beside no endpoints; a step is not held against the whole.
func TestRows(t *testing.T) {
	measured := func(peer string, endpoints int, took time.Duration) *lane {
		l := besideLane(report.Key{Workload: "attach", Peer: peer, Size: 1, Endpoints: endpoints})
		l.samples.add("attach", took)
		return l
	}
	crowded := measured(report.Engine, 5000, 3*time.Second)
	crowded.samples.addPart("attach", "call", time.Second)
	other := measured(report.Engine, 0, time.Second)
	other.key.Size = 32
	for _, row := range rows(report.Raw, []*lane{crowded, other, measured(report.Raw, 0, time.Second)}) {
		want := map[string]float64{"engine, 5000": 3, "raw floor, 0": 1}[fmt.Sprintf("%s, %d", row.Label(), row.Endpoints)]
		if row.Ratio != want {
			t.Errorf("%s, %s: ratio %v, want %v", row.Label(), row.Beside(), row.Ratio, want)
		}
	}
}

// A line of the progress is never as wide as the terminal, and says first how long it takes.
func TestProgress(t *testing.T) {
	var b strings.Builder
	p := &progress{w: &b, terminal: true, columns: func() int { return 60 }}
	p.begin(2, 10*time.Second)
	p.workload("publish", strings.Repeat("∞", 100), 10*time.Second)
	p.doing("%s", strings.Repeat("x", 100))
	for _, line := range strings.Split(b.String(), "\r\033[K") {
		if line = strings.TrimSuffix(line, "\n"); len([]rune(line)) > 59 {
			t.Errorf("%q is too wide", line)
		}
	}
	if want := "\r\033[K[1/2] about 10s, 10s left: publish: xxx"; !strings.Contains(b.String(), want) {
		t.Errorf("%q does not contain %q", &b, want)
	}
}

func TestSavedTranslations(t *testing.T) {
	got, err := savedTranslations(`*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.20.0.2:80
-A CNI-DN-0123 -p tcp -m tcp --dport 9000 -j DNAT --to-destination 172.20.0.3:9000
-A DOCKER ! -i docker0 -p udp -m udp --dport 53:54 -j DNAT --to-destination 172.20.0.2
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
COMMIT
`)
	port := func(proto bridged.Proto, port uint16) bridged.ProtoPort {
		return bridged.ProtoPort{Proto: proto, Port: port}
	}
	want := translations{
		port(bridged.TCP, 8080): netip.MustParseAddrPort("172.20.0.2:80"), port(bridged.TCP, 9000): netip.MustParseAddrPort("172.20.0.3:9000"),
		port(bridged.UDP, 53): netip.MustParseAddrPort("172.20.0.2:53"), port(bridged.UDP, 54): netip.MustParseAddrPort("172.20.0.2:54"),
	}
	if err != nil || got.differs(want) != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := savedTranslations("-A DOCKER -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.20.0.256\n"); err == nil {
		t.Error("this is no address")
	}
}

func TestSpecTexts(t *testing.T) {
	for _, test := range []struct {
		ports []uint16
		want  []string
	}{
		{nil, nil},
		{some(80, 1), []string{"80:80"}},
		{some(8000, 10), []string{"8000-8009:8000-8009"}},
		{[]uint16{1, 2, 4}, []string{"1-2:1-2", "4:4"}},
	} {
		if diff := cmp.Diff(test.want, specTexts(test.ports)); diff != "" {
			t.Errorf("%v: %s", test.ports, diff)
		}
	}
}

func down(s *space, name string) error {
	return s.rtnetlink(func(h *netlink.Handle) error {
		l, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		return h.LinkSetDown(l)
	})
}
