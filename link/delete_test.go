package link_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/nstest"
)

func TestDelete(t *testing.T) {
	n, c := host(t)
	s := nstest.New(t)
	var names []string
	for i := range 300 { // more than one datagram
		p := pairOf(fmt.Sprintf("bv%d", i), netipAddr("10.0.0.2"))
		p.Inner = fmt.Sprintf("eth%d", i)
		_, _, err := c.CreatePair(p, s.FD())
		check(t, err)
		names = append(names, p.Host, fmt.Sprintf("gone%d", i))
	}
	n.Run("ip link add name foreign type bridge")
	keep := names[0]
	check(t, c.Delete(names[1:]...))
	left := ipLinks(n)
	for _, name := range []string{"lo", "br0", "foreign", keep} {
		if _, ok := left[name]; !ok {
			t.Errorf("%s is gone", name)
		}
	}
	if len(left) != 4 || len(ipLinks(s)) != 2 {
		t.Errorf("%d links are left, %d inside", len(left), len(ipLinks(s)))
	}
	check(t, c.Delete(keep))
	check(t, c.Delete(keep)) // gone
	check(t, c.Delete())
	check(t, c.Delete("br0"))
	if left := ipLinks(n); len(left) != 2 {
		t.Errorf("%d links are left", len(left))
	}
}

// What can't be deleted is an error and stays as it was, and does not keep the others.
func TestDeleteRefused(t *testing.T) {
	n, c := host(t)
	_, _, err := c.CreatePair(pairOf("bv1", netipAddr("10.0.0.2")), nstest.New(t).FD())
	check(t, err)
	for _, names := range [][]string{{"lo"}, {"bv1", "lo", "gone"}} {
		err := c.Delete(names...)
		if !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), "cannot delete link lo") {
			t.Errorf("error is %v", err)
		}
	}
	left := ipLinks(n)
	if _, ok := left["bv1"]; ok || left["lo"].Group != "default" {
		t.Errorf("left is %+v", left)
	}
	if err := c.Delete("a-name-that-is-too-long", "br0"); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ERANGE) {
		t.Errorf("error is %v", err)
	}
	if _, ok := ipLinks(n)["br0"]; ok {
		t.Error("br0 is left")
	}
}

// A pair goes with the sandbox's namespace.
func TestNamespaceTakesItsPairAlong(t *testing.T) {
	n, c := host(t)
	w := watch(t, n)
	t.Run("sandbox", func(t *testing.T) { sandbox(t, c, "bv1", "10.0.0.2/24") })
	w.await(t, func(e event) bool { return e.Gone && e.Link.Name == "bv1" })
	if _, ok := ipLinks(n)["bv1"]; ok {
		t.Error("bv1 is left")
	}
}
