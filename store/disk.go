package store

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// diskError says what the user can do, where that is known: then it is [bridged.ErrUnavailable].
func diskError(what string, err error) error {
	advice := ""
	switch {
	case bridged.Code(err) != "internal":
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		advice = "free some space there"
	case errors.Is(err, unix.EROFS):
		advice = "the file system is read-only: make it writable, as with mount -o remount,rw"
	case errors.Is(err, unix.EIO):
		advice = "the disk fails: look at the kernel's log"
	case errors.Is(err, unix.ENOTDIR):
		advice = "a directory must be there: move away what is"
	case errors.Is(err, unix.EISDIR):
		advice = "a file must be there: move away what is"
	case errors.Is(err, fs.ErrPermission):
		advice = "make it root's, and let root write there"
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
	return bridged.Errorf(bridged.ErrUnavailable, "%s: %w: %s", what, err, advice)
}
