package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInstallRenames: what watches the directories sees each file appear under its name by renaming, the plugin before the list.
func TestInstallRenames(t *testing.T) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	bin, conf := t.TempDir(), t.TempDir()
	for _, dir := range []string{bin, conf} {
		if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_ALL_EVENTS); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	if status := run([]string{"cni", "install", "--bin-dir", bin, "--conf-dir", conf}, io.Discard, &said); status != 0 {
		t.Fatalf("status %d: %s", status, &said)
	}
	var seen []string
	buf := make([]byte, 1<<16)
	n, err := unix.Read(fd, buf)
	if err != nil {
		t.Fatal(err)
	}
	for b := buf[:n]; len(b) > 0; {
		mask, size := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
		name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size], "\x00"))
		b = b[unix.SizeofInotifyEvent+size:]
		if name == pluginName || name == cniConfigFile {
			if mask != unix.IN_MOVED_TO {
				t.Errorf("%s: event %#x, want a renaming alone", name, mask)
			}
			seen = append(seen, name)
		}
	}
	if len(seen) != 2 || seen[0] != pluginName || seen[1] != cniConfigFile {
		t.Errorf("seen: %v", seen)
	}
	if info, err := os.Stat(bin + "/" + pluginName); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the plugin: %v, %v", info.Mode(), err)
	}
}
