package engine

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// torn explains why a commit failed that met tables of ours which others had just changed, as they can where the tables are not protected: what
// it builds on is not there, or what it adds is. It can't wait for the repair, which waits for the requests under way; nothing of
// the request has happened.
func (m *machine) torn(err error) error {
	var refusal *nft.Error
	if m.rules.Protection() != nft.ProtectionMonitor || !errors.As(err, &refusal) ||
		refusal.Errno != unix.ENOENT && refusal.Errno != unix.EEXIST {
		return err
	}
	return bridged.Errorf(bridged.ErrUnavailable, "others have just changed our packet filter tables, which are being repaired; try again: %w", err)
}
