package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Mount mounts the namespace at a further path, where nothing may be: unix.EEXIST. After an error nothing is left there. The mark is as in
// [Make].
func (n *NS) Mount(path, mark string) error {
	if err := place(path, mark); err != nil {
		return fmt.Errorf("cannot mount a network namespace at %s: %w", path, err)
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(n.FD()), path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("cannot mount a network namespace at %s: %w", path, err), os.Remove(path))
	}
	return nil
}
