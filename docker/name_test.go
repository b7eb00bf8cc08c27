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

// TestNames: the names of containers are asked for behind the answers, until somebody has told; without one the calls are done all the same.
func TestNames(t *testing.T) {
	d := newDockerAPI(t)
	f := newFake()
	close(f.ready)
	s := serve(t, f, d.socket)
	s.must("/NetworkDriver.CreateNetwork", fill(`{"NetworkID":"$N","IPv4Data":[{"Pool":"10.1.0.0/24"}]}`))
	s.must("/NetworkDriver.CreateEndpoint", fill(`{"NetworkID":"$N","EndpointID":"$E"}`))
	for _, name := range []string{"Join", "ProgramExternalConnectivity"} {
		for what, answer := range map[string]func(http.ResponseWriter){
			"an error": func(w http.ResponseWriter) { http.Error(w, "{}", http.StatusInternalServerError) },
			"no JSON":  func(w http.ResponseWriter) { fmt.Fprint(w, `{"Containers":[`) },
			"nothing":  func(w http.ResponseWriter) { fmt.Fprint(w, `{}`) },
			"others": func(w http.ResponseWriter) {
				fmt.Fprint(w, fill(`{"Containers":{"c2":{"Name":"db","EndpointID":"$L"}}}`))
			},
			"without name": func(w http.ResponseWriter) { fmt.Fprint(w, fill(`{"Containers":{"c2":{"EndpointID":"$E"}}}`)) },
		} {
			d.answers <- answer
			s.must("/NetworkDriver."+name, fill(`{"NetworkID":"$N","EndpointID":"$E"}`))
			if asked := <-d.asked; asked != "GET /networks/"+networkID {
				t.Errorf("%s, %s: asked is %s", name, what, asked)
			}
		}
		d.answers <- func(w http.ResponseWriter) {
			fmt.Fprint(w, fill(`{"Containers":{"c1":{"Name":"web-`+name+`","EndpointID":"$E"},"ep-2":{"Name":"db","EndpointID":"$L"}}}`))
		}
		s.must("/NetworkDriver."+name, fill(`{"NetworkID":"$N","EndpointID":"$E"}`))
		<-d.asked
		if have := <-f.named; have != "web-"+name {
			t.Errorf("the name is %s", have)
		}
	}
	if l := f.leases[endpointID]; l.Endpoint.Name != "web-ProgramExternalConnectivity" {
		t.Errorf("the name is %s", l.Endpoint.Name)
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
