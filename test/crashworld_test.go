package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// armed builds the daemon with the places at which it can be told to die, once.
var armed = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(program), "bridged-armed")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", "failpoints", "-o", path, "../cmd/bridged")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build bridged with fail points: %w\n%s", err, out)
	}
	return path, nil
})

// crashWorld is a world whose daemon dies where it is told to.
type crashWorld struct {
	*world
	t      testing.TB
	armed  string // the daemon
	env    []string
	order  string // path of the file that the daemon's fail points look into
	notify *net.UnixConn
	socket string
	plugin string // the socket for Docker's engine
	http   *http.Client
	d      *daemon
	lines  map[string][]string // as [crashWorld.anonymize] reads them
	hidden int                 // mounts of the machine at /run/netns, below the host's own /run
	pid    int                 // of a process that some operation is about
	echo   *flowtest.Echo      // a connection that some operation is about
}

func newCrashWorld(t testing.TB) *crashWorld {
	t.Helper()
	binary, err := armed()
	if err != nil {
		t.Fatal(err)
	}
	w := &crashWorld{world: newWorld(t), t: t, armed: binary, lines: make(map[string][]string)}
	w.hidden = strings.Count(w.host.Output(t, "cat", "/proc/self/mountinfo"), " /run/netns ")
	dir := t.TempDir()
	w.order, w.socket, w.plugin = filepath.Join(dir, "order"), filepath.Join(dir, "socket"), filepath.Join(dir, "plugin")
	ready := filepath.Join(dir, "notify")
	if w.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: ready, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.notify.Close() })
	w.env = []string{"BRIDGED_FAILPOINTS=" + w.order, "NOTIFY_SOCKET=" + ready}
	w.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", map[bool]string{true: w.plugin, false: w.socket}[addr == "docker:80"])
	}}}
	return w
}

// tell gives the daemon an order; "" is none.
func (w *crashWorld) tell(order string) {
	w.t.Helper()
	err := os.Remove(w.order)
	if order != "" {
		// In one piece: the daemon may look at any time.
		if err = os.WriteFile(w.order+".new", []byte(order), 0o600); err == nil {
			err = os.Rename(w.order+".new", w.order)
		}
	}
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
}

// passed are the points that were passed under the order to record, in their order.
func (w *crashWorld) passed() []string {
	w.t.Helper()
	text, err := os.ReadFile(w.order + ".passed")
	if err != nil {
		w.t.Fatalf("no point was passed: %v", err)
	}
	if err := os.Remove(w.order + ".passed"); err != nil {
		w.t.Fatal(err)
	}
	return lines(string(text))
}

// launch starts a daemon and reports whether it got ready; it did not when it ended before.
func (w *crashWorld) launch(flags []string) (ready bool) {
	w.t.Helper()
	cmd := exec.Command(w.armed, append([]string{"daemon", "--state-dir", w.dir, "--socket", w.socket, "--docker-plugin-socket", w.plugin}, flags...)...)
	cmd.Env = w.env
	w.d = w.world.launch(cmd)
	said := make(chan bool, 1)
	go func() { said <- w.hear("READY=1", lastNotice) == "READY=1" }()
	select {
	case ready = <-said:
	case <-w.d.Ended: // what it has said is in the queue, and nothing of it must be taken for the next one's
		if _, err := w.notify.WriteTo([]byte(lastNotice), w.notify.LocalAddr()); err != nil {
			w.t.Fatal(err)
		}
		if ready = <-said; ready {
			w.hear(lastNotice)
		}
	case <-time.After(flowtest.Patience):
		w.t.Fatalf("the daemon does not get ready:\n%s", w.d.Log.String())
	}
	return ready
}

// lastNotice is ours: it says that a daemon that has ended said nothing more.
const lastNotice = "END"

// hear reads notices until one contains one of these, and returns that.
func (w *crashWorld) hear(words ...string) string {
	buf := make([]byte, 4096)
	for {
		n, err := w.notify.Read(buf)
		if err != nil {
			return ""
		}
		for _, word := range words {
			if strings.Contains(string(buf[:n]), word) {
				return word
			}
		}
	}
}

// begin starts a daemon that must get ready.
func (w *crashWorld) begin(flags []string) {
	w.t.Helper()
	if !w.launch(flags) {
		w.t.Fatalf("the daemon ended at once: %v\n%s", w.d.Cmd.ProcessState, w.d.Log.String())
	}
	w.request("GET", "/bridged/v1/status", "") // it comes when the ports of the former daemon are reserved, or the daemon was killed meanwhile
}

// died ends the daemon with SIGTERM, so that it does what it does behind its answers, and reports whether it was killed meanwhile.
func (w *crashWorld) died() bool {
	w.t.Helper()
	w.d.Cmd.Process.Signal(syscall.SIGTERM)
	w.d.Wait()
	status := w.d.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status.Signaled() && status.Signal() == syscall.SIGKILL
}

// restart ends the daemon and starts the next one.
func (w *crashWorld) restart(flags ...string) {
	w.t.Helper()
	w.died()
	w.begin(flags)
}

// request makes a call on the daemon's socket. A status of 0 is no answer: it died.
func (w *crashWorld) request(method, path, body string) (status int, answer string) {
	w.t.Helper()
	return w.requestAt("bridged", method, path, body)
}

// requestAt is request on the socket for "bridged" or for "docker".
func (w *crashWorld) requestAt(host, method, path, body string) (status int, answer string) {
	w.t.Helper()
	r, err := http.NewRequest(method, "http://"+host+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := w.http.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// steps are calls on the daemon's socket, "METHOD path body" each, or on the one for Docker's engine, "PLUGIN method body".
type steps []string

// attempt makes the calls until one is not answered with success.
func (w *crashWorld) attempt(s steps) error {
	w.t.Helper()
	for _, step := range s {
		words := append(strings.SplitN(step, " ", 3), "")
		path := words[1]
		if words[0] == "PLUGIN" {
			if status, answer := w.requestAt("docker", http.MethodPost, "/"+path, words[2]); status != http.StatusOK || strings.Contains(answer, `"Err`) {
				return fmt.Errorf("%s: status %d: %s", step, status, answer)
			}
			continue
		}
		if !strings.HasPrefix(path, "/networks") {
			path = "/bridged/v1/" + path
		}
		if status, answer := w.request(words[0], path, words[2]); status/100 != 2 {
			return fmt.Errorf("%s: status %d: %s", step, status, answer)
		}
	}
	return nil
}

func (w *crashWorld) must(s steps) {
	w.t.Helper()
	if err := w.attempt(s); err != nil {
		w.t.Fatalf("%v\n%s", err, w.d.Log.String())
	}
}

// attribute is a text in a sandbox's description.
func (w *crashWorld) attribute(sandbox, name string) string {
	w.t.Helper()
	_, answer := w.request("GET", "/bridged/v1/sandboxes/"+sandbox, "")
	_, rest, _ := strings.Cut(answer, `"`+name+`":"`)
	value, _, ok := strings.Cut(rest, `"`)
	if !ok {
		w.t.Fatalf("sandbox %s has no %s: %s", sandbox, name, answer)
	}
	return value
}

// asDesired checks that the daemon itself finds nothing to do.
func (w *crashWorld) asDesired() {
	w.t.Helper()
	if status, answer := w.request("GET", "/bridged/v1/ruleset?view=diff", ""); status != http.StatusOK || !strings.Contains(answer, `"Differs":false`) {
		w.t.Errorf("kernel and desired state differ: status %d: %s", status, answer)
	}
}

// look prints what there is, as programs see it that know nothing of the daemon.
const look = `
nft -s list ruleset
echo "= host"; printf 'link\naddr\nroute\n' | ip -o -batch -; ip -o -6 route
bridge -d -o link
sysctl -e net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv4.conf.docker0.route_localnet net.ipv4.conf.docker0.send_redirects
echo "= mounts"; awk '$5 ~ "^/run/netns/" { print $5 }' /proc/self/mountinfo
[ $(grep -c ' /run/netns ' /proc/self/mountinfo) -le $(($2 + 1)) ] || echo "/run/netns is mounted twice"
cd /run/netns 2>/dev/null && for n in $(ls -A); do
	echo "= $n"; { printf 'link\naddr\nroute\n' | ip -n "$n" -o -batch -; ip -n "$n" -o -6 route; } 2>&1 | sed "s/^/$n: /"
done
echo "= files"; cd "$1" && find . -type f; cat reservations/* 2>/dev/null; find /run/bridged -type f
exit 0
`

// Host ports and addresses whose fate the view shows.
var (
	watchedPorts  = []uint16{8080, 8081, 8082, 8083}
	watchedLeases = []string{"172.17.0.9", "172.17.0.20"}
)

// view is everything that an operation could leave: what the kernel holds, what the daemon says, which ports and addresses are free.
func (w *crashWorld) view() []string {
	w.t.Helper()
	var text bytes.Buffer
	err := w.host.Do(func() error {
		cmd := exec.Command("sh", "-c", look, "sh", w.dir, strconv.Itoa(w.hidden))
		cmd.Stdout, cmd.Stderr = &text, &text
		return cmd.Run()
	})
	if err != nil {
		w.t.Fatalf("cannot look at the host: %v\n%s", err, &text)
	}
	w.addPorts(&text)
	for _, path := range []string{"/networks", "/bridged/v1/sandboxes", "/bridged/v1/ports", "/bridged/v1/links"} {
		status, answer := w.request("GET", path, "")
		if status != http.StatusOK {
			w.t.Fatalf("%s: status %d: %s", path, status, answer)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, []byte(answer), "", ""); err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(&text, "\n%s\n%s", path, strings.ReplaceAll(pretty.String(), ",\n", "\n"))
	}
	for _, ip := range watchedLeases {
		// Never granted: the other address is out of range. 409 means that this one is taken.
		status, _ := w.request("POST", "/bridged/v1/allocate_interface", fmt.Sprintf(`{"ID": "view", "RequestedIP": %q, "RequestedIPv6": "2001:db8::1"}`, ip))
		fmt.Fprintf(&text, "\nlease %s: %d", ip, status)
	}
	return w.anonymize(text.String())
}

// addPorts tries which ports another process on the host could have.
func (w *crashWorld) addPorts(text *bytes.Buffer) {
	err := w.host.Do(func() error {
		for _, port := range watchedPorts {
			for _, family := range []string{"4", "6"} {
				at := fmt.Sprintf(":%d", port)
				l, tcp := net.Listen("tcp"+family, at)
				if tcp == nil {
					l.Close()
				}
				p, udp := net.ListenPacket("udp"+family, at)
				if udp == nil {
					p.Close()
				}
				fmt.Fprintf(text, "\nport %d, IPv%s: tcp free %t, udp free %t", port, family, tcp == nil, udp == nil)
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// What is chosen at random, or counted, reads the same in every view.
var (
	macAddress = regexp.MustCompile(`\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b`)
	atRandom   = []struct {
		what *regexp.Regexp
		as   string
	}{
		{regexp.MustCompile(`[0-9a-f]{64}`), "ID"},
		{regexp.MustCompile(`\b(bv|bi|bd|bp)[0-9a-f]{12}`), "$1#"},
		{regexp.MustCompile(`@[a-z0-9#]+: `), "@: "},
		{regexp.MustCompile(`^([^ ]+: )?[0-9]+: `), "$1"},
		{regexp.MustCompile(` link-netns(id)? [^ ]+`), ""},
		{regexp.MustCompile(` alias bridged .*`), " alias bridged"},
		// The kernel comes to these some time after the change that they follow from.
		{regexp.MustCompile(` tentative | linkdown| state (UP|DOWN|UNKNOWN|LOWERLAYERDOWN)`), " "},
		{regexp.MustCompile(`NO-CARRIER,| *# progname .*`), ""}, // the name of who owns a table is looked up, and may be gone
		{regexp.MustCompile(`(docker0|br0|bd#): <(.*),LOWER_UP>`), "$1: <$2>"},
		{regexp.MustCompile(`scope link nodad`), "scope link"}, // a bridge's link-local address is made by the kernel or by us, whoever comes first
		{regexp.MustCompile(`fe80::[0-9a-f:]+`), "fe80::#"},
		{regexp.MustCompile(`\b(fd[0-9a-f]{2}:[0-9a-f:]+)`), "fd#"},
		{regexp.MustCompile(`0xfd[0-9a-f]{30}`), "0xfd#"},
		{regexp.MustCompile(`"Created": ?"[^"]*"`), `"Created"`},
	}
)

// anonymize makes views of the same state equal: their lines, and what stands in lists, in one order. Most lines are the same in all views.
func (w *crashWorld) anonymize(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		parts, known := w.lines[line]
		if !known {
			parts = anonymizeLine(line)
			w.lines[line] = parts
		}
		all = append(all, parts...)
	}
	slices.Sort(all)
	return all
}

func anonymizeLine(line string) (parts []string) {
	for _, a := range atRandom {
		line = a.what.ReplaceAllString(line, a.as)
	}
	line = macAddress.ReplaceAllStringFunc(line, func(m string) string {
		if strings.HasPrefix(m, "02:42:ac:11:") { // made of the sandbox's address
			return m
		}
		return "MAC"
	})
	line = strings.NewReplacer("elements = {", "", "}", "").Replace(line)
	for part := range strings.SplitSeq(line, ", ") {
		if part = strings.Trim(strings.Join(strings.Fields(part), " "), ","); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// shows waits until what there is equals one of the views, and says which; -1 is none. What nobody waits for is done behind the answer.
func (w *crashWorld) shows(views ...[]string) int {
	w.t.Helper()
	watched := w.watch(w.t)
	defer watched.close()
	end := flowtest.Deadline()
	for {
		now := w.view()
		for i, v := range views {
			if slices.Equal(now, v) {
				return i
			}
		}
		// A port that is given back is announced by nobody.
		if err := watched.wait(30 * time.Millisecond); err != nil && time.Now().After(end) {
			for i, v := range views {
				same(w.t, fmt.Sprintf("state %d", i), strings.Join(v, "\n"), strings.Join(now, "\n"))
			}
			w.t.Logf("log of the daemon:\n%s", w.d.Log.String())
			return -1
		}
	}
}
