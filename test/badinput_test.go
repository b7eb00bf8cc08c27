package test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// snapshot is everything that a request could change.
func (w *world) snapshot(t testing.TB) map[string]string {
	t.Helper()
	s := w.stateFiles(t)
	s["addresses"] = w.host.Addresses(t)
	s["links"] = w.host.Output(t, "ip", "link")
	s["routes"] = w.host.Output(t, "ip", "route", "show", "table", "all") + w.host.Output(t, "ip", "-6", "route", "show", "table", "all")
	s["packet filter"] = w.nft("list", "ruleset")
	s["namespaces"] = strings.Join(w.names("/run/netns"), " ")
	return s
}

// unchanged compares two snapshots.
func unchanged(t testing.TB, before, after map[string]string) {
	t.Helper()
	for name, text := range before {
		if after[name] != text {
			same(t, name, text, after[name])
		}
	}
	for name := range after {
		if _, had := before[name]; !had {
			t.Errorf("there is %s now", name)
		}
	}
}

// Requests that can't be: the right status, a message that names what was wrong, and nothing changed.
func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	w.create("c0") // so that the default bridge is up, whatever comes and goes
	w.bridged("network", "create", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.1", "mine")
	taken := w.member("c1", "mine", "-p", "8080:80").IPAddress
	w.host.IP(t, "link add theirs type veth peer name theirs1")
	bad := slices.Concat(badSandboxes(), badAddresses(taken), badPorts(), badNetworks(), badCommands())
	for _, c := range bad {
		name := c.args
		if len(name) > 60 {
			name = name[:60]
		}
		t.Run(name, func(t *testing.T) {
			before := w.snapshot(t)
			r := w.try(strings.Fields(c.args)...)
			if r.code != c.code && c.code >= 0 || r.code <= 0 {
				t.Errorf("want status %d: %v", c.code, r)
			}
			if !strings.Contains(r.stderr, c.says) {
				t.Errorf("want %q in the message: %v", c.says, r)
			}
			unchanged(t, before, w.snapshot(t))
			if r.code == 0 { // the next case shall not suffer
				w.try("sandbox", "rm", "c2")
				w.try("network", "rm", "n")
				w.consistent(t)
			}
		})
	}
	w.consistent(t)
}

// badRequest is a command that can't be done.
type badRequest struct {
	code int // its exit status; -1: any but 0
	args string
	says string // words of its message
}

// badSandboxes have impossible names, networks or namespaces.
func badSandboxes() []badRequest {
	return []badRequest{
		{2, "sandbox create", "NAME"},
		{2, "sandbox create .c", ".c"},
		{2, "sandbox create a/b", "a/b"},
		{2, "sandbox create a:b", "a:b"},
		{2, "sandbox create " + strings.Repeat("x", 256), "255"},
		{4, "sandbox create c1", "c1"},
		{2, "sandbox create one two", ""},
		{2, "sandbox create --nonsense c2", "nonsense"},
		{3, "sandbox create --network nowhere c2", "nowhere"},
		{3, "sandbox rm nobody", "nobody"},
		{3, "sandbox inspect nobody", "nobody"},
		{2, "sandbox rm", ""},
		{2, "sandbox create --netns /etc/hostname c2", "/etc/hostname"},
		{2, "sandbox create --netns /etc c2", "/etc"},
		{2, "sandbox create --netns /proc/1/ns/mnt c2", "/proc/1/ns/mnt"},
		{-1, "sandbox create --netns /no/such/path c2", "/no/such/path"},
		{-1, "sandbox create --netns relative c2", "relative"},
		{-1, "sandbox create --pid 4194305 c2", "4194305"},
		{2, "sandbox create --pid 0 c2", "0"},
		{2, "sandbox create --pid -1 c2", "-1"},
		{2, "sandbox create --pid x c2", "x"},
		{2, "sandbox create --pid 1 --netns /proc/1/ns/net c2", "netns"},
	}
}

// badAddresses ask for addresses that a sandbox can't have; one is taken.
func badAddresses(taken string) []badRequest {
	return []badRequest{
		{2, "sandbox create --network mine --ip 10.9.0 c2", "10.9.0"},
		{2, "sandbox create --network mine --ip 10.9.0.256 c2", "10.9.0.256"},
		{2, "sandbox create --network mine --ip fd00::1 c2", "fd00::1"},
		{2, "sandbox create --network mine --ip 10.8.0.5 c2", "10.8.0.5"},
		{2, "sandbox create --network mine --ip 10.9.0.0 c2", "10.9.0.0"},
		{2, "sandbox create --network mine --ip 10.9.0.255 c2", "10.9.0.255"},
		{-1, "sandbox create --network mine --ip 10.9.0.1 c2", "10.9.0.1"},
		{4, "sandbox create --network mine --ip " + taken + " c2", taken},
		{2, "sandbox create --network mine --ip6 fd00::5 c2", "fd00::5"},
		{2, "sandbox create --ip6 2001:db8:77::5 c2", "2001:db8:77::5"},
		{2, "sandbox create --ip6 172.17.0.5 c2", "172.17.0.5"},
		{2, "sandbox create --ip6 fe80::5%eth0 c2", "fe80::5"},
		{2, "sandbox create --mac-address 02:42 c2", "02:42"},
		{2, "sandbox create --mac-address 01:00:5e:00:00:01 c2", "01:00:5e:00:00:01"},
		{2, "sandbox create --mac-address 00:00:00:00:00:00 c2", "00:00:00:00:00:00"},
		{2, "sandbox create --mac-address 02:42:ac:11:00:02:03:04 c2", "02:42:ac:11:00:02:03:04"},
	}
}

// badPorts are specifications that say nothing, and ports that can't be published or taken back.
func badPorts() []badRequest {
	return []badRequest{
		{2, "sandbox create -p abc c2", "abc"},
		{2, "sandbox create -p 80: c2", "80:"},
		{2, "sandbox create -p 0 c2", "0"},
		{2, "sandbox create -p 80:0 c2", "80:0"},
		{2, "sandbox create -p 65536:80 c2", "65536"},
		{2, "sandbox create -p 80:80/icmp c2", "icmp"},
		{2, "sandbox create -p 81-80:80-81 c2", "81-80"},
		{2, "sandbox create -p 8000-8002:80-81 c2", "8000-8002:80-81"},
		{2, "sandbox create -p 1.2.3:80:80 c2", "1.2.3"},
		{2, "sandbox create -p ::1:80:80 c2", "::1:80:80"},
		{2, "sandbox create -p [::1]:80:80 c2", "::1"},
		{2, "sandbox create -p [fe80::1%lan0]:80:80 c2", "fe80::1"},
		{2, "sandbox create -p [192.0.2.1]:80:80 c2", "192.0.2.1"},
		{-1, "sandbox create -p 203.0.113.1:80:80 c2", "203.0.113.1"},
		{4, "sandbox create -p 8080:80 c2", "port is already allocated"},
		{-1, "sandbox create --network none -p 80:80 c2", "none"},
		{-1, "sandbox create --network host -p 80:80 c2", "host"},
		{2, "port add c1", ""},
		{2, "port add c1 nonsense", "nonsense"},
		{3, "port add nobody 81:81", "nobody"},
		{4, "port add c1 81:81 8080:81", "8080"},
		{3, "port rm c1 9999:80", "9999"},
		{3, "port rm nobody 8080:80", "nobody"},
		{3, "port ls nobody", "nobody"},
	}
}

// badNetworks can't be made or removed.
func badNetworks() []badRequest {
	return []badRequest{
		{2, "network create", "NAME"},
		{2, "network create .n", ".n"},
		{4, "network create mine", "mine"},
		{-1, "network create bridge", "bridge"},
		{-1, "network create host", "host"},
		{-1, "network create none", "none"},
		{2, "network create -d overlay n", "overlay"},
		{2, "network create --subnet 10.8.0.0 n", "10.8.0.0"},
		{2, "network create --subnet 10.8.0.0/33 n", "10.8.0.0/33"},
		{2, "network create --subnet 10.8.0.0/24 --subnet 10.7.0.0/24 n", "10.7.0.0/24"},
		{2, "network create --subnet 10.8.0.0/24 --gateway 10.7.0.1 n", "10.7.0.1"},
		{2, "network create --subnet 10.8.0.0/24 --gateway 10.8.0.0 n", "10.8.0.0"},
		{2, "network create --subnet 10.8.0.0/24 --gateway 10.8.0.255 n", "10.8.0.255"},
		{2, "network create --subnet 10.8.0.0/24 --ip-range 10.7.0.0/25 n", "10.7.0.0/25"},
		{2, "network create --gateway 10.8.0.1 n", "10.8.0.1"},
		{2, "network create --subnet 127.1.0.0/24 n", "127.1.0.0/24"},
		{2, "network create --subnet 224.0.0.0/24 n", "224.0.0.0/24"},
		{2, "network create --subnet fe80::/64 n", "fe80::/64"},
		{4, "network create --subnet 10.9.0.128/25 n", "10.9.0.0/24"},
		{4, "network create --subnet 172.17.0.0/24 n", "172.17.0.0/16"},
		{2, "network create -o com.docker.network.bridge.nonsense=1 n", "nonsense"},
		{2, "network create -o com.docker.network.bridge.enable_icc=perhaps n", "perhaps"},
		{2, "network create -o com.docker.network.driver.mtu=-1 n", "-1"},
		{2, "network create -o com.docker.network.bridge.name=sixteen-letters- n", "sixteen-letters-"},
		{2, "network create -o com.docker.network.bridge.name=a/b n", "a/b"},
		{4, "network create -o com.docker.network.bridge.name=theirs n", "theirs"},
		{4, "network create -o com.docker.network.bridge.name=docker0 n", "docker0"},
		{3, "network inspect nowhere", "nowhere"},
		{3, "network rm nowhere", "nowhere"},
		{4, "network rm mine", "mine"},
		{-1, "network rm bridge", "bridge"},
		{-1, "network rm host", "host"},
		{-1, "network rm none", "none"},
	}
}

// badCommands are no commands, or have nobody to talk to.
func badCommands() []badRequest {
	return []badRequest{
		{2, "nonsense", "nonsense"},
		{2, "sandbox nonsense", "nonsense"},
		{2, "status --wait soon", "soon"},
		{2, "ruleset --kernel --diff", ""},
		{2, "-H tcp://127.0.0.1:80 status", "tcp"},
		{69, "-H unix:///run/nothing.sock status", "/run/nothing.sock"},
		{69, "-H unix:///run/nothing.sock sandbox ls", "/run/nothing.sock"},
	}
}

// Daemons that can't be: each ends with the right status and a message that names the flag, and nothing was touched.
func TestBadDaemons(t *testing.T) {
	w := newWorld(t, "link add theirs type veth peer name theirs1")
	for _, c := range []struct {
		code int
		args string
		says string
	}{
		{2, "-b none --bip 10.1.0.1/24", "You specified -b & --bip, mutually exclusive options. Please specify only one."},
		{2, "--bip nonsense", "--bip"},
		{2, "--bip 10.1.0.1", "10.1.0.1"},
		{2, "--bip 10.1.0.0/24", "10.1.0.0/24"},
		{2, "--bip 10.1.0.255/24", "10.1.0.255/24"},
		{2, "--bip fd00::1/64", "--bip"},
		{2, "--bip6 10.1.0.1/24", "--bip6"},
		{2, "--fixed-cidr nonsense", "--fixed-cidr"},
		{2, "--bip 10.1.0.1/24 --fixed-cidr 10.2.0.0/25", "10.2.0.0/25"},
		{2, "--fixed-cidr-v6 10.1.0.0/24", "--fixed-cidr-v6"},
		{2, "--mtu nonsense", "nonsense"},
		{2, "--mtu -1", "-1"},
		{2, "--mtu 67", "67"},
		{2, "--mtu 70000", "70000"},
		{2, "--ip nonsense", "nonsense"},
		{2, "--bridge-name sixteen-letters-", "sixteen-letters-"},
		{2, "--bridge-name a/b", "a/b"},
		{2, "--default-address-pool nonsense", "nonsense"},
		{2, "--default-address-pool base=10.0.0.0/16,size=8", "10.0.0.0/16"},
		{2, "--protection nonsense", "nonsense"},
		{2, "--log-level nonsense", "nonsense"},
		{2, "--log-format nonsense", "nonsense"},
		{2, "--nonsense", "nonsense"},
		{2, "argument", "argument"},
		{-1, "--bridge-name theirs", "theirs"},
	} {
		t.Run(c.args, func(t *testing.T) {
			before := w.snapshot(t)
			r := w.once(nil, append([]string{"daemon", "--state-dir", w.dir}, strings.Fields(c.args)...)...)
			if r.code != c.code && c.code >= 0 || r.code <= 0 {
				t.Errorf("want status %d: %v", c.code, r)
			}
			if !strings.Contains(r.stderr, c.says) {
				t.Errorf("want %q in the message: %v", c.says, r)
			}
			after := w.snapshot(t)
			delete(before, w.dir+"/lock")
			delete(after, w.dir+"/lock")
			unchanged(t, before, after)
			if w.host.ReadSysctl(t, "net/ipv4/ip_forward") != "0" {
				t.Error("forwarding was switched on")
			}
		})
	}
}

// once runs a daemon that must end by itself.
func (w *world) once(attr *syscall.SysProcAttr, args ...string) result {
	w.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.SysProcAttr = []string{"PATH="}, attr
	d := w.host.Launch(w.t, cmd)
	d.Wait()
	return result{args: args, stderr: d.Log.String(), code: d.Cmd.ProcessState.ExitCode()}
}

// A second daemon on the same run directory is refused, and the first goes on.
func TestSecondDaemon(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	w.create("-p", "8080:80", "c1")
	before := w.snapshot(t)
	for _, args := range []string{"", "--socket /run/other.sock", "--bridge-name docker1"} {
		r := w.once(nil, append([]string{"daemon", "--state-dir", t.TempDir()}, strings.Fields(args)...)...)
		if r.code != 4 || !strings.Contains(r.stderr, "/run/bridged") {
			t.Errorf("a second daemon: %v", r)
		}
	}
	unchanged(t, before, w.snapshot(t))
	w.consistent(t)
}

// Without the privileges the daemon says which it needs.
func TestNoPrivileges(t *testing.T) {
	w := newWorld(t)
	before := w.snapshot(t)
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	r := w.once(nobody, "daemon", "--state-dir", "/tmp/bridged-nobody", "--run-dir", "/tmp/bridged-nobody")
	if r.code != 5 || !strings.Contains(r.stderr, "CAP_NET_ADMIN") && !strings.Contains(r.stderr, "root") {
		t.Errorf("as nobody: %v", r)
	}
	unchanged(t, before, w.snapshot(t))
}

// A caller who may not use the socket is told so.
func TestForeignCaller(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	r := w.asNobody("sandbox", "ls")
	if r.code != 5 {
		t.Errorf("as nobody: %v", r)
	}
}

// asNobody runs a command as a user without rights.
func (w *world) asNobody(args ...string) result {
	w.t.Helper()
	return w.as(syscall.Credential{Uid: 65534, Gid: 65534}, args...)
}

// as runs a command as a user.
func (w *world) as(user syscall.Credential, args ...string) result {
	w.t.Helper()
	var out, errs flowtest.Log
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &user}
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := w.host.Do(cmd.Run); err != nil && cmd.ProcessState == nil {
		w.t.Fatal(fmt.Errorf("as user %d: %w", user.Uid, err))
	}
	return result{args: args, stdout: out.String(), stderr: errs.String(), code: cmd.ProcessState.ExitCode()}
}
