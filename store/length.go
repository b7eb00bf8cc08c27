package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"golang.org/x/sys/unix"
)

// length says beside the log how long it is, so that one that lost its end is told from a shorter one. It is a few bytes that are
// written in place after each record: a daemon that is killed in between leaves it too short, never too long.
type length struct{ file *os.File }

// lengthSize is the size of the file, in bytes: the log's inode number, its length and their checksum.
const lengthSize = 8 + 8 + 4

// openLength opens the file, or makes it. What else is at path is set aside.
func openLength(path string) (length, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, unix.EISDIR) {
		if _, err = moveAside(path); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		}
	}
	return length{f}, err
}

// note says that the log with that inode number is so long. An error is none of the caller's business: what the file says then is
// about another log, or less than there is.
func (l length) note(inode uint64, size int64) {
	b := make([]byte, 0, lengthSize)
	b = binary.BigEndian.AppendUint64(b, inode)
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	_, _ = l.file.WriteAt(b, 0)
}

// missing says how the log with that inode number is too short; nil: it is not, or nothing is known of it.
func (l length) missing(inode uint64, size int64) (known bool, damage error) {
	b := make([]byte, lengthSize)
	if _, err := l.file.ReadAt(b, 0); err != nil {
		return false, nil
	}
	sum := crc32.Checksum(b[:lengthSize-4], crc32.MakeTable(crc32.Castagnoli))
	was := int64(binary.BigEndian.Uint64(b[8:]))
	if binary.BigEndian.Uint32(b[lengthSize-4:]) != sum || binary.BigEndian.Uint64(b) != inode {
		return false, nil
	}
	if was <= size {
		return true, nil
	}
	return true, fmt.Errorf("it ends at byte %d, and was %d bytes long", size, was)
}

func (l length) close() error { return l.file.Close() }

// inode is the file's inode number.
func inode(f *os.File) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return st.Ino, nil
}
