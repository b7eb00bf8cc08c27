package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/failpoint"
)

// Mount mounts the namespace at a further path, where nothing may be: unix.EEXIST. After an error nothing is left there.
func (n *NS) Mount(path string) error {
	if err := touch(path); err != nil {
		return fmt.Errorf("cannot mount a network namespace at %s: %w", path, err)
	}
	failpoint.Reached("namespace's further file made")
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(n.FD()), path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("cannot mount a network namespace at %s: %w", path, err), os.Remove(path))
	}
	return nil
}

// touch makes the file that a namespace is mounted over.
func touch(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o444)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
