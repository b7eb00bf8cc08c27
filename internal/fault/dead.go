package fault

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// Dead says whether a socket that fails with this error will never work again, so that another is to be opened.
func Dead(err error) bool {
	return slices.ContainsFunc([]unix.Errno{
		unix.EBADF, unix.ENOTSOCK, unix.ENOTCONN, unix.ECONNRESET, unix.ECONNREFUSED, unix.ENODEV, unix.EPIPE, unix.EIO,
		unix.EDESTADDRREQ,
	}, func(errno unix.Errno) bool { return errors.Is(err, errno) })
}

// Gone says whether the descriptor is not the socket's any more: somebody closed it, and it may be another file by now, which is not ours
// to close.
func Gone(err error) bool { return errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOTSOCK) }
