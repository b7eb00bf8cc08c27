package netns

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Cookie is a number that the kernel gives no other namespace until the next boot; 0 on kernels that have none (before Linux
// 5.14). It costs a visit to the namespace.
func (n *NS) Cookie() (cookie uint64, err error) {
	err = n.Do(func() error {
		cookie, err = CookieHere()
		return err
	})
	return cookie, err
}

// CookieHere is the [NS.Cookie] of the calling thread's namespace.
func CookieHere() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return 0, nil
	}
	return cookie, err
}

// Cookies opens the namespaces at paths, one after the other, and calls f with each and its cookie, all on one journey: that is less than half of
// what as many visits cost. What is no namespace, or can't be entered, is passed over. ns is open until f returns.
func Cookies(paths []string, f func(path string, ns *NS, cookie uint64)) error {
	stay := func() error { return nil }
	return visit(stay, func() error {
		for _, path := range paths {
			ns, err := Open(path)
			if err != nil {
				continue
			}
			if ns.enter() == nil {
				if cookie, err := CookieHere(); err == nil {
					f(path, ns, cookie)
				}
			}
			ns.Close()
		}
		return nil
	})
}
