package sysctl_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/internal/sysctl"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Each namespace has its own values.
func TestSet(t *testing.T) {
	n, other := nstest.New(t), nstest.New(t)
	n.Run("ip link add name br.1 type bridge") // a dot in a name is no separator
	n.Do(func() {
		for path, value := range map[string]string{
			"net/ipv4/ip_forward":               "1",
			"net/ipv4/conf/br.1/route_localnet": "1",
			"net/ipv6/conf/br.1/disable_ipv6":   "1",
			"net/ipv4/ip_local_port_range":      "40000\t50000",
		} {
			check(t, sysctl.Set(path, value))
			check(t, sysctl.Set(path, value))
			if got, err := sysctl.Get(path); err != nil || got != value {
				t.Errorf("%s is %q, %v", path, got, err)
			}
			file, err := os.ReadFile("/proc/thread-self/root/proc/sys/" + path)
			check(t, err)
			if strings.TrimSpace(string(file)) != value {
				t.Errorf("the file of %s has %q", path, file)
			}
		}
	})
	if got := n.Run("cat /proc/sys/net/ipv4/ip_forward"); got != "1\n" {
		t.Errorf("cat prints %q", got)
	}
	other.Do(func() {
		if got, err := sysctl.Get("net/ipv4/ip_local_port_range"); err != nil || got == "40000\t50000" {
			t.Errorf("the other namespace has %q, %v", got, err)
		}
	})
}

// A directory stays that of the namespace where it was opened.
func TestDir(t *testing.T) {
	n, other := nstest.New(t), nstest.New(t)
	for _, ns := range []nstest.NS{n, other} {
		ns.Run("ip link add name br0 type bridge")
	}
	var conf *sysctl.Dir
	n.Do(func() {
		var err error
		conf, err = sysctl.OpenDir("net/ipv6/conf")
		check(t, err)
	})
	other.Do(func() {
		check(t, conf.Set("br0/disable_ipv6", "1"))
		if got, err := conf.Get("br0/disable_ipv6"); err != nil || got != "1" {
			t.Errorf("the directory has %q, %v", got, err)
		}
		if got, err := sysctl.Get("net/ipv6/conf/br0/disable_ipv6"); err != nil || got != "0" {
			t.Errorf("the other namespace has %q, %v", got, err)
		}
		for path, errno := range map[string]error{"br9/disable_ipv6": unix.ENOENT, "../ip_forward": unix.EINVAL} {
			if err := conf.Set(path, "1"); !errors.Is(err, errno) || !strings.Contains(err.Error(), "net/ipv6/conf/"+path) {
				t.Errorf("Set %q: error %v, want %v", path, err, errno)
			}
		}
	})
	if got := n.Run("cat /proc/sys/net/ipv6/conf/br0/disable_ipv6"); got != "1\n" {
		t.Errorf("cat prints %q", got)
	}
	check(t, conf.Close())
	if _, err := sysctl.OpenDir("net/missing"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("error is %v", err)
	}
}

// Many are read as each is by itself.
func TestEach(t *testing.T) {
	nstest.New(t).Do(func() {
		paths := []string{
			"net/ipv4/conf/lo/rp_filter", "net/ipv4/conf/lo/missing", "net/ipv4/conf/lo/forwarding", "net/ipv4/conf/missing/forwarding",
			"net/ipv4/conf/missing/rp_filter", "net/ipv4/ip_forward", "../etc/passwd", "kernel/ostype",
		}
		seen := 0
		sysctl.Each(paths, func(i int, value string, err error) {
			want, wantErr := sysctl.Get(paths[i])
			if i != seen || value != want || fmt.Sprint(err) != fmt.Sprint(wantErr) && !errors.Is(err, unix.EINVAL) || (err == nil) != (wantErr == nil) {
				t.Errorf("number %d, %s, is %q, %v instead of %q, %v", i, paths[i], value, err, want, wantErr)
			}
			seen++
		})
		if seen != len(paths) {
			t.Errorf("%d of %d were read", seen, len(paths))
		}
	})
}

// A value that is right already is not written: here nothing can be.
func TestSetWritesOnlyADifference(t *testing.T) {
	nstest.New(t).Do(func() {
		name, err := sysctl.Get("kernel/version") // can't be written, not even by root
		check(t, err)
		check(t, sysctl.Set("kernel/version", name))
		if err := sysctl.Set("kernel/version", "other"); err == nil {
			t.Error("no error")
		}
	})
}

func TestErrors(t *testing.T) {
	nstest.New(t).Do(func() {
		for path, errno := range map[string]error{
			"net/ipv4/no_such_thing":       unix.ENOENT,
			"net/ipv4/conf/br9/forwarding": unix.ENOENT,
			"../../etc/passwd":             unix.EINVAL,
			"/etc/passwd":                  unix.EINVAL,
			"":                             unix.EINVAL,
		} {
			if _, err := sysctl.Get(path); !errors.Is(err, errno) || !strings.Contains(err.Error(), path) {
				t.Errorf("Get %q: error %v, want %v", path, err, errno)
			}
			if err := sysctl.Set(path, "1"); !errors.Is(err, errno) {
				t.Errorf("Set %q: error %v, want %v", path, err, errno)
			}
		}
		err := sysctl.Set("net/ipv4/ip_forward", "nonsense")
		if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "from 0 to nonsense") {
			t.Errorf("error is %v", err)
		}
	})
}

func ExampleGet() {
	kind, err := sysctl.Get("kernel/ostype")
	fmt.Println(kind, err)
	// Output: Linux <nil>
}

func BenchmarkSetUnchanged(b *testing.B) {
	nstest.New(b).Do(func() {
		for b.Loop() {
			check(b, sysctl.Set("net/ipv4/ip_forward", "0"))
		}
	})
}
