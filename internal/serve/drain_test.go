package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// echo answers with the body, and counts.
type echo struct{ calls atomic.Int64 }

func (e *echo) Serve(c *Call) error {
	text, err := c.ReadBody()
	if err == nil {
		e.calls.Add(1)
		c.Answer(http.StatusOK, text)
	}
	return err
}

func (e *echo) Fail(c *Call, err error) {
	c.Answer(http.StatusInternalServerError, []byte(err.Error()))
}

// asker uses a connection again until it can't send anything on it. What it has sent it does not send again.
type asker struct {
	path   string
	conn   net.Conn
	answer *bufio.Reader
}

func (a *asker) ask(question string) error {
	request := fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: %d\r\n\r\n%s", len(question), question)
	if a.conn != nil {
		if n, err := a.conn.Write(request); n == 0 && err != nil {
			a.conn.Close()
			a.conn = nil
		}
	}
	if a.conn == nil {
		var err error
		if a.conn, err = net.Dial("unix", a.path); err != nil {
			return err
		}
		a.answer = bufio.NewReader(a.conn)
		if _, err := a.conn.Write(request); err != nil {
			return err
		}
	}
	response, err := http.ReadResponse(a.answer, nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(response.Body)
	if err == nil && string(text) != question {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return err
}

// TestDrain: one server after the other on a socket that somebody holds. Clients that use their connections again, and that can't send
// anything twice, have each of their questions answered, once.
func TestDrain(t *testing.T) {
	const clients, servers, least = 4, 50, 20
	held, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	var e echo
	var asking sync.WaitGroup
	asked, ended := make(chan struct{}), make(chan struct{})
	questions := 0
	for range clients {
		asking.Go(func() {
			a := &asker{path: held.Addr().String()}
			defer func() { a.conn.Close() }()
			for {
				err := a.ask("question")
				if err != nil {
					t.Error(err)
				}
				select {
				case asked <- struct{}{}:
				case <-ended:
					return
				}
			}
		})
	}
	for range servers {
		serving, stop := context.WithCancel(t.Context())
		served, l := make(chan error), handOn(t, held)
		go func() { served <- New(&e, Options{Drain: true}).Serve(serving, l) }()
		for range least {
			<-asked
			questions++
		}
		stop()
		for done := false; !done; {
			select {
			case <-asked:
				questions++
			case err := <-served:
				if done = true; err != nil {
					t.Error(err)
				}
			}
		}
	}
	close(ended)
	serving, stop := context.WithCancel(t.Context())
	served, l := make(chan error), handOn(t, held)
	go func() { served <- New(&e, Options{Drain: true}).Serve(serving, l) }()
	asking.Wait()
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if got := int(e.calls.Load()); got < questions || got > questions+clients { // of each the last is not counted
		t.Errorf("%d calls were made of %d questions", got, questions)
	}
}

// handOn is a listener on the same socket.
func handOn(t *testing.T, held *net.UnixListener) net.Listener {
	t.Helper()
	f, err := held.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
