package docker_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dockerAPI is Docker's own API, as far as it is asked for names.
type dockerAPI struct {
	socket  string
	asked   chan string // methods and paths
	answers chan func(w http.ResponseWriter)
}

func newDockerAPI(t *testing.T) *dockerAPI {
	t.Helper()
	dir, err := os.MkdirTemp("", "docker")
	if err != nil {
		t.Fatal(err)
	}
	d := &dockerAPI{socket: filepath.Join(dir, "docker.sock"), asked: make(chan string, 1), answers: make(chan func(http.ResponseWriter), 1)}
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.asked <- r.Method + " " + r.URL.Path
		(<-d.answers)(w)
	})}
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return d
}

// TestNames: the names of containers are asked for behind the answers, until somebody has told; whatever is told, the calls are done.
func TestNames(t *testing.T) {
	d := newDockerAPI(t)
	f := newFake()
	close(f.ready)
	s := serve(t, f, d.socket)
	answer := func(containers string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { fmt.Fprint(w, fill(`{"Containers":`+containers+`}`)) }
	}
	asks := func(name, id string, answer func(http.ResponseWriter)) {
		t.Helper()
		d.answers <- answer
		s.must("/NetworkDriver."+name, fill(`{"NetworkID":"$N","EndpointID":"`+id+`"}`))
		if asked := <-d.asked; asked != "GET /networks/"+networkID {
			t.Errorf("%s: asked is %s", name, asked)
		}
	}
	s.must("/NetworkDriver.CreateNetwork", fill(`{"NetworkID":"$N","IPv4Data":[{"Pool":"10.1.0.0/24"}]}`))
	for _, c := range []struct{ name, id string }{{"Join", endpointID}, {"ProgramExternalConnectivity", leasedID}} {
		s.must("/NetworkDriver.CreateEndpoint", fill(`{"NetworkID":"$N","EndpointID":"`+c.id+`"}`))
		asks("Join", c.id, answer(`{}`))
		for _, bad := range []func(http.ResponseWriter){
			func(w http.ResponseWriter) { http.Error(w, "{}", http.StatusInternalServerError) },
			func(w http.ResponseWriter) { fmt.Fprint(w, `{"Containers":[`) },
			func(w http.ResponseWriter) { fmt.Fprint(w, `{}`) },
			answer(`{"c3":{"Name":"another","EndpointID":"$X"}}`),
			answer(`{"c1":{"EndpointID":"` + c.id + `"}}`),
		} {
			asks(c.name, c.id, bad)
		}
		asks(c.name, c.id, answer(`{"c1":{"Name":"web-`+c.name+`","EndpointID":"`+c.id+`"},"ep-2":{"Name":"another","EndpointID":"$X"}}`))
		if have := <-f.named; have != "web-"+c.name {
			t.Errorf("the name is %s", have)
		}
		s.must("/NetworkDriver."+c.name, fill(`{"NetworkID":"$N","EndpointID":"`+c.id+`"}`)) // nobody would answer a question, or ask the next one
	}
	s.stop()
	if len(d.asked) != 0 || f.leases[endpointID].Endpoint.Name != "web-Join" {
		t.Errorf("%d more questions; the name is %s", len(d.asked), f.leases[endpointID].Endpoint.Name)
	}
}

// TestNamesAtStart: what an earlier daemon did not learn is asked for by the next, once, and a stop does not wait for the answer.
func TestNamesAtStart(t *testing.T) {
	before := furnished(t)
	before.must("/NetworkDriver.CreateNetwork", fill(`{"NetworkID":"$X","IPv4Data":[{"Pool":"10.8.0.0/24"}]}`)) // nothing is in it
	before.stop()
	d := newDockerAPI(t)
	d.answers <- func(w http.ResponseWriter) {
		fmt.Fprint(w, fill(`{"Containers":{"c1":{"Name":"web","EndpointID":"$E"},"c2":{"Name":"not joined","EndpointID":"$L"}}}`))
	}
	s := serve(t, before.engine, d.socket)
	if asked := <-d.asked; asked != "GET /networks/"+networkID {
		t.Errorf("asked is %s", asked)
	}
	if name := <-s.engine.named; name != "web" {
		t.Errorf("the name is %s", name)
	}
	s.must("/NetworkDriver.Join", fill(`{"NetworkID":"$N","EndpointID":"$L"}`))
	<-d.asked
	s.stop()
	d.answers <- func(http.ResponseWriter) {}
	if len(d.asked) > 0 || len(s.engine.named) > 0 {
		t.Error("more was asked")
	}
}

// TestNoNames: where Docker can't be asked the calls are done as ever.
func TestNoNames(t *testing.T) {
	f := newFake()
	close(f.ready)
	s := serve(t, f, "/nowhere/docker.sock")
	s.must("/NetworkDriver.CreateNetwork", fill(`{"NetworkID":"$N","IPv4Data":[{"Pool":"10.1.0.0/24"}]}`))
	s.must("/NetworkDriver.CreateEndpoint", fill(`{"NetworkID":"$N","EndpointID":"$E"}`))
	s.must("/NetworkDriver.Join", fill(`{"NetworkID":"$N","EndpointID":"$E"}`))
	s.stop()
	if log := s.log.String(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the log: %s", log)
	}
}
