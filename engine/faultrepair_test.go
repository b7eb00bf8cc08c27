package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/fault"
	"github.com/bridged/bridged/nft"
)

// TestFaultsOfRepairs: whatever goes wrong while what others took away is put back, it comes back.
func TestFaultsOfRepairs(t *testing.T) {
	needRoot(t)
	for which, protection := range []string{nft.ProtectionOwner, nft.ProtectionMonitor} {
		host, inside := giveNamespace(t), giveNamespace(t)
		shell := startShell(t, host)
		t.Run(protection, func(t *testing.T) {
			t.Parallel()
			s := &scene{t: t, host: host, shell: shell}
			cfg := testConfig(t)
			cfg.Protection = protection
			var stop func()
			s.e, stop = startLess(t, host, cfg, less{fault: s.plan.Inject})
			defer stop()
			if _, err := s.e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "web", NetNS: inside, Ports: specs(t, "8080:80")}); err != nil {
				t.Fatal(err)
			}
			s.equal("prepared")
			before := s.sees()
			fix := func() {
				s.shell.lines(t, "ip link delete docker0; nft flush ruleset")
				s.e.suspect(suspicion{})
				_ = s.e.repairs.wait(context.Background(), every[struct{}])
			}
			s.record(fix)
			for i, f := range faults {
				s.each(f, 5*which+3*i, func(n int) (reached bool) {
					when := fmt.Sprintf("%s, opportunity %d", f.name, n)
					s.plan.Arm(1, f.times, f.at(n))
					fix()
					reached = s.plan.Disarm() > 0
					s.equal(when)
					return reached
				})
				s.is(f.name, before)
			}
		})
	}
}

// TestDeadSubscriptions: where one of the sockets dies that tell of changes, another takes its place, and what changed meanwhile is found.
func TestDeadSubscriptions(t *testing.T) {
	host := giveNamespace(t)
	cfg := testConfig(t)
	cfg.Protection = nft.ProtectionMonitor
	subscribed := make(chan *watchers, 16)
	e, stop := startLess(t, host, cfg, less{subscribed: func(w *watchers) { subscribed <- w }})
	defer stop()
	w := <-subscribed
	for _, tt := range []struct {
		name  string
		die   func() error
		brake []string
		did   string
	}{
		{"links", func() error { return w.links.Close() }, []string{"ip", "link", "delete", "docker0"}, "create bridge docker0"},
		{"addresses", func() error { return w.addrs.Close() }, []string{"ip", "address", "flush", "dev", "docker0"}, "add address"},
		{"forwarding", func() error { return w.forwarding.Close() }, []string{"sysctl", "-qw", "net.ipv4.ip_forward=0"}, "forwarding on"},
		{"rules", func() error { return w.rules.Close() }, []string{"nft", "flush", "ruleset"}, "packet filter"},
	} {
		for _, early := range []bool{true, false} { // before the next subscription, and when it is there
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			events := e.Events(ctx, time.Time{})
			if early {
				in(t, host, tt.brake[0], tt.brake[1:]...)
			}
			if err := tt.die(); err != nil {
				t.Fatal(err)
			}
			select {
			case w = <-subscribed:
			case <-ctx.Done():
				t.Fatalf("%s: nobody subscribed again", tt.name)
			}
			if !early {
				_ = e.repairs.wait(ctx, every[struct{}])
				in(t, host, tt.brake[0], tt.brake[1:]...)
			}
			repaired := false
			for event := range events {
				if repaired = event.Action == "repair" && strings.Contains(event.Attributes["did"], tt.did); repaired {
					break
				}
			}
			cancel()
			if !repaired {
				t.Errorf("%s, early %v: nobody repaired what %v did", tt.name, early, tt.brake)
			}
		}
	}
}

// TestDeadWriter: tables whose socket died when there could be no other are the daemon's again as soon as there can be one, without a request.
func TestDeadWriter(t *testing.T) {
	host := giveNamespace(t)
	s := &scene{t: t, host: host, shell: startShell(t, host)}
	var stop func()
	s.e, stop = startLess(t, host, testConfig(t), less{fault: s.plan.Inject})
	defer stop()
	owned := func() bool { return strings.Contains(strings.Join(s.sees(), "\n"), "flags owner") }
	if !owned() {
		t.Skip("this kernel has no table flags owner and persist")
	}
	s.plan.Arm(1, forever, func(d fault.Datagram) (fault.Fault, bool) {
		return fault.Fault{Send: unix.ENOTCONN, Dead: true}, isBatch(d)
	})
	if _, err := s.e.AllocateInterface(t.Context(), bridged.InterfaceSpec{ID: "lease"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.e.AllocatePort(t.Context(), "lease", specs(t, "8080:80")[0]); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("publishing without a socket: %v", err)
	}
	if owned() {
		t.Error("the socket did not die")
	}
	s.plan.Disarm()
	for deadline := time.Now().Add(sweepEvery + patience); !owned(); {
		if time.Now().After(deadline) {
			t.Fatal("the tables stay nobody's")
		}
	}
	s.equal("with another socket")
}

// TestOneGuiltyCaller: of 32 callers at a time one asks for what the kernel refuses, for whatever reason. The others are served.
func TestOneGuiltyCaller(t *testing.T) {
	host := giveNamespace(t)
	s := &scene{t: t, host: host, shell: startShell(t, host)}
	e, err := openIn(t, host, testConfig(t), less{fault: s.plan.Inject})
	if err != nil {
		t.Fatal(err)
	}
	const callers, guilty, room = 32, 7, 40
	for i := range e.program { // a set that can be filled
		for j := range e.program[i].Sets {
			if set := &e.program[i].Sets[j]; set.Name == "publish4any" {
				set.Size = room
			}
		}
	}
	var stop func()
	s.e, stop = run(t, e)
	defer stop()
	if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "web", NetNS: giveNamespace(t)}); err != nil {
		t.Fatal(err)
	}
	lease := func(i int) string { return fmt.Sprintf("lease%d", i) }
	for i := range callers {
		if _, err := e.AllocateInterface(t.Context(), bridged.InterfaceSpec{ID: lease(i)}); err != nil {
			t.Fatal(err)
		}
	}
	before := s.sees()
	key := binaryPort(6000 + guilty)
	refuse := func(errno unix.Errno) func(fault.Datagram) (fault.Fault, bool) {
		return func(d fault.Datagram) (f fault.Fault, ok bool) {
			for i, m := range d.Messages {
				if isBatch(d) && m.Kind&0xff == unix.NFT_MSG_NEWSETELEM && bytes.Contains(m.Body, key) {
					f.Refusals = append(f.Refusals, fault.Refusal{Message: i, Errno: errno})
				}
			}
			return f, len(f.Refusals) > 0
		}
	}
	for _, tt := range []struct {
		name  string
		errno unix.Errno
		ports string // that the guilty one asks for, where the kernel itself refuses it
	}{
		{"busy", unix.EBUSY, ""},
		{"not permitted", unix.EPERM, ""},
		{"full", unix.ENFILE, ""},
		{"no memory", unix.ENOMEM, ""},
		{"really full", unix.ENFILE, "6500-6599:6500-6599"},
	} {
		if tt.ports == "" {
			s.plan.Arm(1, forever, refuse(tt.errno))
		}
		errs := make([]error, callers)
		var all sync.WaitGroup
		for i := range callers {
			port := specs(t, fmt.Sprintf("%d:80", 6000+i))
			if i == guilty && tt.ports != "" {
				many := specs(t, tt.ports)
				all.Go(func() { _, _, errs[i] = e.AddPorts(context.Background(), "web", many) })
				continue
			}
			all.Go(func() { _, errs[i] = e.AllocatePort(context.Background(), lease(i), port[0]) })
		}
		all.Wait()
		s.plan.Disarm()
		for i, err := range errs {
			if i == guilty && (!errors.Is(err, tt.errno) || !strings.Contains(err.Error(), "publish")) {
				t.Errorf("%s: the guilty caller: %v, want %v", tt.name, err, tt.errno)
			} else if i != guilty && err != nil {
				t.Errorf("%s: caller %d: %v", tt.name, i, err)
			}
		}
		s.equal(tt.name)
		if n := len(e.State().Ports); n != 2*(callers-1) {
			t.Errorf("%s: %d ports are published", tt.name, n)
		}
		for i := range callers {
			if err := e.ReleaseInterface(t.Context(), lease(i)); err != nil {
				t.Error(err)
			}
			if _, err := e.AllocateInterface(t.Context(), bridged.InterfaceSpec{ID: lease(i)}); err != nil {
				t.Fatal(err)
			}
		}
		s.equal(tt.name + ", taken back")
		s.is(tt.name+", taken back", before)
	}
}

// binaryPort is a port in the key of an element.
func binaryPort(port uint16) []byte {
	v := nft.Port(port)
	return bytes.Clone(v.Bytes())
}
