package netns

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Cookie is a number that the kernel gives no other namespace until the next boot; 0 on kernels that have none (before Linux
// 5.14). It costs a visit to the namespace where file handles don't tell.
func (n *NS) Cookie() (cookie uint64, err error) {
	if _, ok := handlesTell(); ok {
		if h, ok := readHandle(n.FD(), "", unix.AT_EMPTY_PATH); ok {
			return h.id, nil
		}
	}
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

// Cookies looks at the namespaces at paths, one after the other, and calls f with each and its cookie. What is no namespace, or can't be entered where
// that is needed, is passed over.
func Cookies(paths []string, f func(path string, ns File, cookie uint64)) error {
	if dev, ok := handlesTell(); ok {
		for _, path := range paths {
			if h, ok := readHandle(unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); ok {
				f(path, File{dev, uint64(h.ino)}, h.id)
			}
		}
		return nil
	}
	return travel(paths, f)
}

// travel is Cookies where file handles don't tell, all on one journey: that is less than half of what as many visits cost.
func travel(paths []string, f func(path string, ns File, cookie uint64)) error {
	stay := func() error { return nil }
	return visit(stay, func() error {
		for _, path := range paths {
			ns, err := Open(path)
			if err != nil {
				continue
			}
			if ns.enter() == nil {
				if cookie, err := CookieHere(); err == nil {
					f(path, File{ns.dev, ns.ino}, cookie)
				}
			}
			ns.Close()
		}
		return nil
	})
}

// handle is what the file handle of a namespace says (struct nsfs_file_handle, linux/nsfs.h; Linux 6.18). One system call asks for it, where a visit
// takes nine.
type handle struct {
	id   uint64 // of a network namespace: its cookie
	kind uint32 // CLONE_NEW…
	ino  uint32
}

// readHandle is false where there is no network namespace, and for all of them on older kernels.
func readHandle(dir int, path string, flags int) (h handle, ok bool) {
	const kind, size = 0xf1, 16 // FILEID_NSFS
	f, _, err := unix.NameToHandleAt(dir, path, flags)
	if err != nil || f.Type() != kind || f.Size() != size {
		return h, false
	}
	b := f.Bytes()
	h = handle{binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint32(b[8:]), binary.NativeEndian.Uint32(b[12:])}
	return h, h.kind == unix.CLONE_NEWNET
}

// handlesTell says whether handles say what a visit finds, by the namespace where the caller is, and the number of the file system that all
// namespaces are in.
var handlesTell = sync.OnceValues(func() (dev uint64, ok bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h, ok := readHandle(unix.AT_FDCWD, thread, unix.AT_SYMLINK_FOLLOW)
	cookie, err := CookieHere()
	var st unix.Stat_t
	if err == nil {
		err = unix.Stat(thread, &st)
	}
	return st.Dev, ok && err == nil && h.id == cookie && uint64(h.ino) == st.Ino
})
