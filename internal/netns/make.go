package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/failpoint"
)

// Dir is where "ip netns" looks for namespaces by name.
const Dir = "/run/netns"

// Make makes a namespace, mounts it at path and opens it. Nothing may be at path: unix.EEXIST. When path is in [Dir], the
// directory is made what "ip netns" makes of it, so that both see each other's namespaces and can remove them; another
// directory must exist. After an error nothing is left at path. [Mark] finds the mark again, a name that no other file beside path has; it
// may be "".
func Make(path, mark string) (*NS, error) {
	ns, err := makeAt(path, mark)
	if err != nil {
		return nil, fmt.Errorf("cannot make network namespace %s: %w", path, err)
	}
	return ns, nil
}

func makeAt(path, mark string) (*NS, error) {
	if filepath.Dir(path) == Dir {
		if err := share(Dir); err != nil {
			return nil, err
		}
	}
	if err := place(path, mark); err != nil {
		return nil, err
	}
	ns, err := fresh(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return ns, nil
}

// fresh makes a namespace and mounts it over the file at path.
func fresh(path string) (ns *NS, err error) {
	unshare := func() error { return unix.Unshare(unix.CLONE_NEWNET) }
	err = visit(unshare, func() error {
		if ns, err = Current(); err != nil {
			return err
		}
		if err := unix.Mount(thread, path, "", unix.MS_BIND, ""); err != nil {
			return errors.Join(fmt.Errorf("cannot mount it: %w", err), ns.Close())
		}
		failpoint.Reached("namespace mounted")
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// share makes dir a mount point whose mounts reach all mount namespaces that have it, as they must to be removable in each of
// them.
func share(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	failpoint.Reached("directory of namespaces made")
	lock, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(lock)
	if err := unix.Flock(lock, unix.LOCK_EX); err != nil { // as "ip netns" does
		return wrap("cannot lock "+dir, err)
	}
	err = unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return wrap("cannot share "+dir, err)
	}
	// It is no mount point yet.
	if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return wrap("cannot mount "+dir, err)
	}
	failpoint.Reached("directory of namespaces mounted")
	return wrap("cannot share "+dir, unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, ""))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Remove takes away what Make made. It is no error when it is gone already, as a whole or the mount only. The namespace itself
// lives on as long as something else holds it.
func Remove(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot unmount network namespace %s: %w", path, err)
	}
	failpoint.Reached("namespace unmounted")
	if err := unix.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove network namespace %s: %w", path, err)
	}
	return nil
}
