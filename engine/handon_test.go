package engine

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/fault"
)

// keeper keeps the packet filter's socket for the next daemon, as systemd does.
type keeper struct {
	t  *testing.T
	mu sync.Mutex
	fd int // 0: it keeps none
}

func (k *keeper) keep(f *os.File) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fd != 0 {
		unix.Close(k.fd)
		k.fd = 0
	}
	if f == nil {
		return
	}
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			if k.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err != nil {
				k.t.Error(err)
			}
		})
	}
	if err != nil {
		k.t.Error(err)
	}
}

// inode tells the socket that is kept; 0: there is none.
func (k *keeper) inode() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	var st unix.Stat_t
	if k.fd == 0 {
		return 0
	}
	if err := unix.Fstat(k.fd, &st); err != nil {
		k.t.Error(err)
	}
	return st.Ino
}

// TestDeadWriterIsHandedOn: while somebody keeps a writer's socket that died, the tables are its. It is told to let it go, and keeps the next
// one.
func TestDeadWriterIsHandedOn(t *testing.T) {
	host := giveNamespace(t)
	s := &scene{t: t, host: host, shell: startShell(t, host)}
	k := &keeper{t: t}
	defer k.keep(nil)
	cfg := testConfig(t)
	cfg.HandOn = k.keep
	var stop func()
	s.e, stop = startLess(t, host, cfg, less{fault: s.plan.Inject})
	defer stop()
	if !strings.Contains(strings.Join(s.sees(), "\n"), "flags owner") {
		t.Skip("this kernel has no table flags owner and persist")
	}
	first := k.inode()
	if first == 0 {
		t.Fatal("the engine gave no socket to be kept")
	}
	if _, err := s.e.AllocateInterface(t.Context(), bridged.InterfaceSpec{ID: "lease"}); err != nil {
		t.Fatal(err)
	}
	s.plan.Arm(1, 1, func(d fault.Datagram) (fault.Fault, bool) {
		return fault.Fault{Send: unix.ENOTCONN, Dead: true}, isBatch(d)
	})
	publish := func() error {
		_, err := s.e.AllocatePort(t.Context(), "lease", specs(t, "8080:80")[0])
		return err
	}
	err := publish()
	for deadline := time.Now().Add(sweepEvery + patience); err != nil || k.inode() == first || k.inode() == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("kept is socket %d, the dead one was %d; publishing: %v", k.inode(), first, err)
		}
		if err != nil {
			err = publish()
		}
	}
	s.plan.Disarm()
	s.equal("with another socket")
}
