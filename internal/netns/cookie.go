package netns

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Cookie is a number that the kernel gives no other namespace until the next boot; 0 on kernels that have none (before Linux
// 5.14). It costs a visit to the namespace.
func (n *NS) Cookie() (cookie uint64, err error) {
	err = n.Do(func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		if errors.Is(err, unix.ENOPROTOOPT) {
			return nil
		}
		return err
	})
	return cookie, err
}
