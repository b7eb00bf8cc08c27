package test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// generations counts the transactions of the host's packet filter: the kernel announces each with one NFT_MSG_NEWGEN, before
// the caller's commit returns.
type generations struct {
	fd int
}

// generations listens from now on.
func (w *world) generations() *generations {
	w.t.Helper()
	g := &generations{}
	err := w.host.Do(func() (err error) {
		if g.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(g.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
			return err
		}
		return unix.Bind(g.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	})
	if err != nil {
		w.t.Fatalf("cannot listen to nf_tables: %v", err)
	}
	w.t.Cleanup(func() { unix.Close(g.fd) })
	return g
}

// batch is what one transaction changed: the count of each kind of message, as "new element".
type batch map[string]int

// anonymous is the attribute NFTA_SET_ELEM_LIST_SET of a set that is part of a rule: a list of constants.
var anonymous = append(binary.NativeEndian.AppendUint16(nil, unix.NFTA_SET_ELEM_LIST_SET), "__"...)

// take returns the transactions since the last call.
func (g *generations) take(t testing.TB) []batch {
	t.Helper()
	var all []batch
	now := make(batch)
	buf := make([]byte, 1<<20)
	for {
		n, _, err := unix.Recvfrom(g.fd, buf, unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			return all
		}
		if err != nil {
			t.Fatalf("listening to nf_tables: %v", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			kind := nftMessage(m.Header.Type & 0xff)
			if strings.HasSuffix(kind, "element") && bytes.Contains(m.Data, anonymous) {
				kind = "constant"
			}
			if kind != "generation" {
				now[kind]++
				continue
			}
			all = append(all, now)
			now = make(batch)
		}
	}
}

// nftMessage names the message types of nf_tables (linux/netfilter/nf_tables.h) that notifications have.
func nftMessage(kind uint16) string {
	switch kind {
	case unix.NFT_MSG_NEWGEN:
		return "generation"
	case unix.NFT_MSG_NEWTABLE:
		return "new table"
	case unix.NFT_MSG_NEWCHAIN:
		return "new chain"
	case unix.NFT_MSG_NEWRULE:
		return "new rule"
	case unix.NFT_MSG_NEWSET:
		return "new set"
	case unix.NFT_MSG_NEWSETELEM:
		return "new element"
	case unix.NFT_MSG_DELSETELEM:
		return "del element"
	}
	return fmt.Sprintf("message %d", kind)
}

// one checks that a step was exactly one transaction.
func (g *generations) one(t testing.TB, step string) batch {
	t.Helper()
	all := g.take(t)
	if len(all) != 1 {
		t.Errorf("%s: %d transactions, want 1: %v", step, len(all), all)
		return nil
	}
	return all[0]
}

// One request is one transaction, whatever it holds.
func TestOneTransaction(t *testing.T) {
	w := newWorld(t)
	g := w.generations()
	w.daemon("--ipv6")
	if b := g.one(t, "the first start"); b["new table"] != 2 {
		t.Errorf("the first start: %v, want two tables", b)
	}
	steps := []struct {
		name string
		args string
	}{
		{"a network", "network create --ipv6 second"},
		{"an internal network", "network create --internal inside"},
		{"a sandbox with ports of both families", "sandbox create -p 8080:80 -p 8443:443 -p 5353:53/udp c1"},
		{"a sandbox without ports", "sandbox create c2"},
		{"a sandbox on another network", "sandbox create --network second -p 9000-9009:9000-9009 c3"},
		{"one port", "port add c2 81:80"},
		{"a range of ports", "port add c2 7000-7099:7000-7099"},
		{"several specifications", "port add c2 82:80 83:80/udp 127.0.0.2:84:80"},
		{"removing ports", "port rm c2 7000-7099:7000-7099"},
		{"removing a port", "port rm c2 81:80"},
		{"a detach with ports", "sandbox rm c1"},
		{"a detach", "sandbox rm c3"},
		{"removing a network", "network rm second"},
		{"removing an internal network", "network rm inside"},
	}
	g.take(t)
	for _, s := range steps {
		w.bridged(strings.Fields(s.args)...)
		b := g.one(t, s.name)
		for kind := range b {
			if !strings.HasSuffix(kind, "element") {
				t.Errorf("%s: %q: the program is constant", s.name, kind)
			}
		}
	}
	// What fails and what only looks writes nothing.
	for _, args := range []string{"sandbox create -p 82:80 c4", "sandbox create --ip 1.2.3.4 c4", "port add c2 82:80",
		"sandbox create c2", "network create bridge", "sandbox rm c9"} {
		if r := w.try(strings.Fields(args)...); r.code == 0 {
			t.Errorf("should fail: %v", r)
		}
		if all := g.take(t); len(all) != 0 {
			t.Errorf("%s failed, and made %d transactions: %v", args, len(all), all)
		}
	}
	for _, args := range []string{"status", "sandbox ls", "network ls", "port ls", "ruleset", "ruleset --kernel", "ruleset --diff"} {
		w.bridged(strings.Fields(args)...)
		if all := g.take(t); len(all) != 0 {
			t.Errorf("%s made %d transactions: %v", args, len(all), all)
		}
	}
	w.settled()
}
