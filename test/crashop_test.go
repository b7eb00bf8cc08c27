package test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/bridged/bridged/internal/flowtest"
)

// operations are all that the daemon does.
func operations() []operation {
	all := slices.Concat(requests(), removals(), repairs(), starts(), dockers(), runtimes())
	for i, op := range all {
		if op.flags == nil {
			all[i].flags = usual
		}
		switch {
		case op.former != nil:
		case op.starts:
			all[i].former = usual
		default:
			all[i].former = all[i].flags
		}
	}
	return all
}

// inverse is two requests that take each other back.
type inverse struct {
	name         string
	host, given  func(*crashWorld)
	make, unmake steps
	// uses makes connections through what was made.
	uses func(*crashWorld)
	// traces are in the lines of conntrack about such connections.
	traces string
}

// both are the two operations of a pair.
func (p inverse) both() []operation {
	made := func(w *crashWorld) { w.must(p.make) }
	return []operation{
		{name: p.name + " add", host: p.host, given: p.given, do: request(p.make), undo: func(w *crashWorld) { w.must(p.unmake) }},
		{
			name: p.name + " rm", host: p.host,
			given: func(w *crashWorld) {
				if p.given != nil {
					p.given(w)
				}
				made(w)
			},
			do: func(w *crashWorld) bool {
				if p.uses != nil {
					p.uses(w)
				}
				return request(p.unmake)(w)
			},
			undo: made, traces: p.traces,
		},
	}
}

// request is an operation of calls on the socket.
func request(s steps) func(*crashWorld) bool {
	return func(w *crashWorld) bool { return w.attempt(s) == nil }
}

// Bodies and calls that several operations have: a sandbox with addresses and ports that the view shows, one that shares its stack, its
// link, a lease with a port.
const sandbox1 = `"Name": "s", "IPv4Address": "172.17.0.9", "Ports": ["8081:80", "8081:80/udp"]`

var (
	create = steps{`POST sandboxes {` + sandbox1 + `}`}
	remove = steps{`DELETE sandboxes/s`}
	share  = steps{`POST sandboxes {"Name": "u", "Network": "container:s"}`}
	leave  = steps{`DELETE sandboxes/u`}
	tie    = steps{`POST links {"Parent": "s", "Child": "c0", "Ports": ["80", "80/udp"]}`}
	untie  = steps{`DELETE links?parent=s&child=c0`}
	lease  = steps{`POST allocate_interface {"ID": "l", "RequestedIP": "172.17.0.20"}`}
	settle = steps{`POST release_interface {"ID": "l"}`}
	lend   = steps{`POST allocate_port {"ID": "l", "HostPort": 8083, "ContainerPort": 80, "Proto": "udp"}`}
)

func requests() []operation {
	linkable := func(w *crashWorld) { w.must(create) }
	pairs := []inverse{
		{
			name:   "network",
			make:   steps{`POST /networks/create {"Name": "n", "EnableIPv6": true, "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}}`},
			unmake: steps{`DELETE /networks/n`},
		},
		{name: "sandbox", make: create, unmake: remove, uses: sent(8081), traces: "172.17.0.9"},
		{
			name: "sandbox in a given namespace", host: func(w *crashWorld) { w.netns("given", "link set lo up") },
			make: steps{`POST sandboxes {"NetNS": "/run/netns/given", ` + sandbox1 + `}`}, unmake: remove,
		},
		{name: "host sandbox", make: steps{`POST sandboxes {"Name": "s", "Network": "host"}`}, unmake: remove},
		{name: "none sandbox", make: steps{`POST sandboxes {"Name": "s", "Network": "none"}`}, unmake: remove},
		{name: "sharing sandbox", make: steps{`POST sandboxes {"Name": "s", "Network": "container:c0"}`}, unmake: remove},
		{
			name: "port", make: steps{`POST ports {"Sandbox": "c0", "Ports": ["8082:80", "8082:80/udp"]}`},
			unmake: steps{`DELETE ports?sandbox=c0&port=8082:80&port=8082:80/udp`}, uses: sent(8082), traces: "dport=8082",
		},
		{name: "link", given: linkable, make: tie, unmake: untie, uses: linked, traces: "src=172.17.0.9 dst=172.17.0.2"},
		{
			name: "link of addresses", given: linkable,
			make:   steps{`POST link {"Action": "add", "ParentIP": "172.17.0.9", "ChildIP": "172.17.0.2", "Ports": ["80/udp"]}`},
			unmake: steps{`POST link {"Action": "remove", "ParentIP": "172.17.0.9", "ChildIP": "172.17.0.2"}`}, uses: linked, traces: "src=172.17.0.9 dst=172.17.0.2",
		},
		{name: "lease", make: lease, unmake: settle},
		{ // with which the default route and the ports move
			name: "connection", given: func(w *crashWorld) {
				w.must(slices.Concat(create, steps{`POST /networks/create {"Name": "a", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}}`}))
			},
			make:   steps{`POST /networks/a/connect {"Container": "s", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.9.0.9"}}}`},
			unmake: steps{`POST /networks/a/disconnect {"Container": "s"}`}, uses: sent(8081), traces: "10.9.0.9",
		},
	}
	var all []operation
	for _, p := range pairs {
		all = append(all, p.both()...)
	}
	return append(all,
		operation{
			name: "lease's port add", given: func(w *crashWorld) { w.must(lease) },
			do: request(lend), undo: func(w *crashWorld) { w.must(slices.Concat(settle, lease)) },
		},
		operation{
			name: "sandbox of a process add", given: func(w *crashWorld) { w.pid = w.process() },
			do: func(w *crashWorld) bool {
				return request(steps{fmt.Sprintf(`POST sandboxes {"PID": %d, %s}`, w.pid, sandbox1)})(w)
			},
			undo: func(w *crashWorld) { w.must(remove) },
		},
		operation{
			name: "sandbox that the kernel refuses",
			host: func(w *crashWorld) {
				w.netns("full", "link set lo up", "link add eth0 type veth peer name eth1")
			},
			do: request(steps{`POST sandboxes {"NetNS": "/run/netns/full", ` + sandbox1 + `}`}),
		},
		operation{ // which makes the directory of namespaces
			name: "first sandbox add", alone: true, do: request(create),
			undo: func(w *crashWorld) {
				w.must(remove)
				w.sh("umount -l /run/netns; rmdir /run/netns")
			},
		},
		operation{name: "stop", do: func(*crashWorld) bool { return true }},
	)
}

// netns makes a namespace that is somebody else's.
func (w *crashWorld) netns(name string, lines ...string) {
	w.t.Helper()
	w.host.Output(w.t, "ip", "netns", "add", name)
	s := w.host.Open(w.t, name, "/run/netns/"+name)
	defer s.Close()
	s.IP(w.t, lines...)
}

// sent makes a connection that the kernel would remember, from the LAN to a published port.
func sent(port uint16) func(*crashWorld) {
	return func(w *crashWorld) {
		a := flowtest.Begin(w.lan, "udp", netip.AddrPortFrom(hostLAN4, port))
		a.Close()
	}
}

// linked makes a connection over a link.
func linked(w *crashWorld) {
	s := w.host.Open(w.t, "s", "/run/netns/s")
	defer s.Close()
	a := flowtest.Begin(s, "udp", netip.MustParseAddrPort("172.17.0.2:80"))
	a.Close()
}

// process starts one in a network namespace of its own, and returns its id.
func (w *crashWorld) process() int {
	w.t.Helper()
	cmd := exec.Command("sleep", "3600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := w.host.Start(cmd); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

// removals are those that differ from a creation taken back.
func removals() []operation {
	shared := func(w *crashWorld) { w.must(slices.Concat(create, share)) }
	tied := func(w *crashWorld) { w.must(slices.Concat(create, tie)) }
	lent := func(w *crashWorld) { w.must(slices.Concat(lease, lend)) }
	return []operation{
		{
			name: "sandbox with links rm", given: tied, undo: tied, traces: "172.17.0.9",
			do: func(w *crashWorld) bool { linked(w); return request(remove)(w) },
		},
		{name: "shared sandbox rm", given: shared, do: request(remove), undo: func(w *crashWorld) { w.must(leave); shared(w) }},
		{
			name: "last user rm", given: func(w *crashWorld) { shared(w); w.must(remove) },
			do: request(leave), undo: func(w *crashWorld) { shared(w); w.must(remove) }, traces: "172.17.0.9",
		},
		{
			name: "lease with a port rm", given: lent, undo: lent, traces: "172.17.0.20",
			do: func(w *crashWorld) bool { sent(8083)(w); return request(settle)(w) },
		},
	}
}

// repairs undo what others did.
func repairs() []operation {
	damage := func(name string, lines ...string) operation {
		return operation{name: "repair " + name, first: true, dies: true, do: func(w *crashWorld) bool {
			now := slices.Clone(lines)
			for i, l := range now {
				if strings.Contains(l, "HOSTEND") {
					now[i] = strings.ReplaceAll(l, "HOSTEND", w.attribute("c0", "HostInterface"))
				}
			}
			w.host.IP(w.t, now...)
			return true
		}}
	}
	return []operation{
		damage("a link", "link del HOSTEND"),
		damage("a port", "link set HOSTEND nomaster down"),
		damage("a bridge", "link del docker0"),
		damage("a bridge's settings", "link set docker0 down", "addr flush dev docker0"),
		damage("a bridge's route", "route del 172.17.0.0/16 dev docker0"),
		{
			name: "repair the rules", flags: slices.Concat(usual, []string{"--protection", "monitor"}), first: true, dies: true,
			do: func(w *crashWorld) bool { w.host.Output(w.t, "nft", "flush", "ruleset"); return true },
		},
	}
}

// starts are the ways in which a daemon finds a host.
func starts() []operation {
	return slices.Concat([]operation{
		{name: "start", starts: true, do: launched(usual)},
		{name: "start on a link without its alias", starts: true, do: launched(usual), ahead: func(w *crashWorld) {
			host := w.attribute("c0", "HostInterface")
			w.died()
			w.host.Output(w.t, "ip", "link", "set", "dev", host, "alias", "")
		}},
		{name: "first start", starts: true, fresh: true, do: launched(usual), host: func(w *crashWorld) {
			w.sh(": >/run/empty; [ ! -e /etc/machine-id ] || mount --bind /run/empty /etc/machine-id")
		}},
		{name: "first start on a bridge", starts: true, fresh: true, do: launched(usual), host: emptyBridge},
		{name: "failed first start on a bridge", starts: true, fresh: true, do: failed(usual), host: emptyBridge},
		{
			name: "failed start", starts: true, alone: true, former: []string{"--icc=false"}, flags: usual, do: failed(usual),
			undo: func(w *crashWorld) { w.restart("--icc=false") },
			// Forwarding that was switched on stays on.
			given: func(w *crashWorld) { w.restart(usual...); w.restart("--icc=false") },
		},
	}, startsAfter(), startsWith())
}

// launched starts a daemon.
func launched(flags []string) func(*crashWorld) bool {
	return func(w *crashWorld) bool { return w.launch(flags) }
}

// failed starts a daemon that can't write settings of the kernel.
func failed(flags []string) func(*crashWorld) bool {
	return func(w *crashWorld) bool {
		w.sh("mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys")
		if w.launch(flags) {
			w.t.Errorf("the start does not fail")
		}
		w.sh("umount /proc/sys")
		return false
	}
}

func emptyBridge(w *crashWorld) {
	w.host.IP(w.t, "link add docker0 type bridge", "addr add 172.17.42.1/16 dev docker0", "link set docker0 up")
}

// startsAfter are starts that finish what a request began whose daemon was killed at a point.
func startsAfter() []operation {
	after := func(name, point string, given, s, undo steps) operation {
		op := operation{
			name: "start after " + name, starts: true, do: launched(usual),
			given: func(w *crashWorld) { w.must(given) },
			ahead: func(w *crashWorld) {
				w.tell(point)
				if err := w.attempt(s); err == nil {
					w.t.Fatalf("%s: not killed at %s", name, point)
				}
				w.d.Wait()
				w.tell("")
			},
		}
		if undo != nil {
			op.undo = func(w *crashWorld) { w.must(undo) }
		}
		return op
	}
	return []operation{
		after("half a creation", "namespace mounted:1", nil, create, nil),
		after("a creation without its end", "after join:1", nil, create, nil),
		after("half a removal", "after commit:1", create, remove, create),
		after("half a removal from others", "namespace has both paths:1", slices.Concat(create, share), remove, nil),
		after("half of Docker's link", "after addPair:1", slices.Concat(plug, endow), join, depart),
		after("half of Docker's link's removal", "after commit:1", slices.Concat(plug, endow, join), depart, join),
		after("half a link's removal", "before purging connections:1", slices.Concat(create, tie), untie, tie),
	}
}

// startsWith are starts with other flags than before; with those of before, everything is as it was.
func startsWith() []operation {
	with := func(name string, back []string, flags ...string) operation {
		return operation{
			name: "start with " + name, starts: true, alone: true, flags: flags, do: launched(flags),
			undo: func(w *crashWorld) { w.restart(slices.Concat(usual, back)...) },
		}
	}
	given := with("a given bridge", nil, "-b", "br0")
	given.host = func(w *crashWorld) {
		w.host.IP(w.t, "link add br0 type bridge", "addr add 10.5.0.1/24 dev br0", "link set br0 up",
			"link add p0 type veth peer name p1", "link set p0 master br0 up", "link set p1 up")
	}
	back := given.undo
	given.undo = func(w *crashWorld) { // the bridge keeps settings that it needed
		back(w)
		w.host.IP(w.t, "link del br0", "link del p0")
		given.host(w)
	}
	return []operation{
		given,
		with("another address", []string{"--bip", "172.17.42.1/16"}, slices.Concat(usual, []string{"--bip", "172.17.42.1/24"})...),
		with("another MTU", nil, slices.Concat(usual, []string{"--mtu", "1400"})...),
		with("no rules", nil, "--ipv6", "--iptables=false"),
		with("no bridge", nil, "-b", "none"),
	}
}
