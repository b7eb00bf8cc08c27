package nft

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// handOn is a writer's socket as a file.
func handOn(t *testing.T, w *Writer) *os.File {
	t.Helper()
	f, err := w.Socket()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// mustBeOwned: nobody else can change the table inet small.
func mustBeOwned(t *testing.T, when string) {
	t.Helper()
	if out, err := nftTool(t, "", "delete", "table", "inet", "small"); err == nil || !strings.Contains(out, "Operation not permitted") {
		t.Errorf("%s: nft can delete the table: %v\n%s", when, err, out)
	}
	if out := mustNFT(t, "", "list", "tables"); !strings.Contains(out, "inet small") {
		t.Errorf("%s: the table is gone:\n%s", when, out)
	}
}

// Between one writer and the next that has its socket, the tables are never anybody's.
func TestHandedOn(t *testing.T) {
	newNamespace(t)
	ctx := t.Context()
	first := dial(t, Options{})
	if first.Protection() != ProtectionOwner {
		t.Skip("this kernel has no table flags owner and persist")
	}
	mustCommit(t, first, Diff(Ruleset{}, small()))
	port := first.conn.socket.port()
	file := handOn(t, first)
	// An answer that nobody reads: it comes to the next one.
	request := batch{seq: 4711}
	request.header(subsystem|unix.NFT_MSG_GETGEN, 0, unix.NLM_F_REQUEST|unix.NLM_F_ACK, 0)
	request.end()
	mustFail(t, "send", first.conn.socket.send(request.buf), nil)
	mustFail(t, "close", first.Close(), nil)
	mustBeOwned(t, "between the two")

	second := dial(t, Options{Socket: file})
	mustFail(t, "close the file", file.Close(), nil)
	if got := second.conn.socket.port(); got != port {
		t.Errorf("the second has port %d, want %d", got, port)
	}
	var unread [64]byte
	if n, err := second.conn.socket.receive(unread[:]); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%d bytes of an earlier answer are left, %v", n, err)
	}
	mustFail(t, "adopt", second.Adopt(ctx, smallIDs), nil)
	if second.Transactions() != 0 {
		t.Errorf("the adoption took %d transactions: the tables were owned", second.Transactions())
	}
	mustBe(t, "what was handed on", mustObserve(t, second, smallIDs...), small())
	mustCommit(t, second, Diff(small(), Ruleset{Tables: small().Tables}))
	mustBe(t, "what the second wrote", mustObserve(t, second, smallIDs...), Ruleset{Tables: small().Tables})
	mustBeOwned(t, "with the second")
	mustFail(t, "close", second.Close(), nil)
	mustNFT(t, "", "delete", "table", "inet", "small") // nobody has the socket any more
	if _, err := second.Socket(); !errors.Is(err, ErrClosed) {
		t.Errorf("the socket of a closed writer: %v", err)
	}
}

// heir is set in the process that TestHandedToProcess hands its socket to.
const heir = "TEST_HEIR"

func TestHandedToProcess(t *testing.T) {
	if os.Getenv(heir) != "" {
		w := dial(t, Options{Socket: os.NewFile(3, "inherited")})
		mustFail(t, "adopt", w.Adopt(t.Context(), smallIDs), nil)
		mustCommit(t, w, Diff(mustObserve(t, w, smallIDs...), small()))
		mustBeOwned(t, "in the next process")
		if w.Transactions() != 1 {
			t.Errorf("%d transactions, want the one of the elements", w.Transactions())
		}
		return
	}
	newNamespace(t)
	w := dial(t, Options{})
	if w.Protection() != ProtectionOwner {
		t.Skip("this kernel has no table flags owner and persist")
	}
	mustCommit(t, w, Diff(Ruleset{}, Ruleset{Tables: small().Tables}))
	cmd := exec.Command(os.Args[0], "-test.run=^TestHandedToProcess$")
	cmd.Env = append(os.Environ(), heir+"=1")
	cmd.ExtraFiles = []*os.File{handOn(t, w)}
	mustFail(t, "close", w.Close(), nil)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mustBeOwned(t, "while the file is open")
	mustFail(t, "close the file", cmd.ExtraFiles[0].Close(), nil)
	after := dial(t, Options{})
	mustFail(t, "adopt", after.Adopt(t.Context(), smallIDs), nil)
	mustBe(t, "what the next process wrote", mustObserve(t, after, smallIDs...), small())
}

func TestUnfitSocket(t *testing.T) {
	newNamespace(t)
	open := func(family, proto int) int {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto)
		mustFail(t, "socket", err, nil)
		return fd
	}
	elsewhere, err := dial(t, Options{}).conn.socket.duplicate()
	mustFail(t, "duplicate", err, nil)
	newNamespace(t)
	route := open(unix.AF_NETLINK, unix.NETLINK_ROUTE)
	mustFail(t, "bind", unix.Bind(route, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}), nil)
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	mustFail(t, "open", err, nil)
	for _, c := range []struct {
		what string
		fd   int
		says string
	}{
		{"a file", null, "it is not a netlink socket"},
		{"UDP", open(unix.AF_INET, 0), "it is not a netlink socket"},
		{"rtnetlink", route, "it is not a netfilter socket"},
		{"not bound", open(unix.AF_NETLINK, unix.NETLINK_NETFILTER), "it is not bound"},
		{"of another namespace", elsewhere, "it belongs to another network namespace"},
	} {
		f := os.NewFile(uintptr(c.fd), c.what)
		_, err := Dial(Options{Socket: f})
		mustFail(t, c.what, err, ErrUnfitSocket)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.what, err, c.says)
		}
		mustFail(t, c.what+": the file stays open", f.Close(), nil)
	}
	file := handOn(t, dial(t, Options{}))
	fit := dial(t, Options{Socket: file})
	mustFail(t, "a fit one", fit.Commit(context.Background(), Diff(Ruleset{}, small())), nil)
	file.Close()
	_, err = Dial(Options{Socket: file})
	mustFail(t, "a closed file", err, ErrUnfitSocket)
}
