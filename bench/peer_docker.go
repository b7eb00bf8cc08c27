package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/bench/report"
	"github.com/bridged/bridged/internal/netns"
)

// dockerPeer is Docker Engine: one of our own, beside the one that may run on the host.
func dockerPeer() peer {
	return peer{
		name:   report.Docker,
		what:   "POST /networks/bridge/connect of a running container that publishes ports: the engine's own share, without starting the container",
		find:   findDocker,
		attach: func(s *setting, name string) (attacher, error) { return newDocker(s, name) },
		// Each of a container's ports starts several processes, and each of these reads all rules.
		patience: 100_000,
	}
}

func findDocker(s *setting) (string, error) {
	for _, program := range []string{"dockerd", "containerd", "runc", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s is not installed (Debian package docker.io)", program)
		}
	}
	if s.pause == "" {
		return "", errors.New(s.pauseMissing)
	}
	return tool("dockerd", "docker.io", "--version")(s)
}

// dockerAttacher is an engine in a world. Its containers are members of an internal network, and become members of the default bridge, which
// is what publishes their ports.
type dockerAttacher struct {
	w      *world
	dir    string
	engine *exec.Cmd
	log    bytes.Buffer
	api    *http.Client
	ids    map[*container]string
}

// Names in the engine.
const (
	dockerIdle  = "idle" // the internal network
	dockerImage = "pause"
)

func newDocker(s *setting, name string) (_ *dockerAttacher, err error) {
	a := &dockerAttacher{ids: make(map[*container]string)}
	if a.w, err = newWorld(name); err != nil {
		return nil, err
	}
	if a.dir, err = tempDir("docker"); err == nil {
		err = a.start(s)
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *dockerAttacher) start(s *setting) error {
	socket := a.dir + "/socket"
	a.engine = exec.Command("dockerd", "--data-root", a.dir+"/data", "--exec-root", a.dir+"/exec", "--pidfile", a.dir+"/pid", "-H", "unix://"+socket,
		"--storage-driver", "vfs", "--bip", bridgeAddr.String(), "--cgroup-parent", "/"+s.controlGroup)
	a.engine.Stdout, a.engine.Stderr = &a.log, &a.log
	if err := a.w.host.do(a.engine.Start); err != nil {
		return err
	}
	a.api = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	err := a.awaitEngine()
	if err == nil {
		err = a.load(s.pause)
	}
	if err == nil {
		err = a.call(http.MethodPost, "/networks/create", map[string]any{"Name": dockerIdle, "Internal": true}, nil)
	}
	if err != nil {
		return fmt.Errorf("cannot start an engine: %w\n%s", err, strings.TrimSpace(a.log.String()))
	}
	return nil
}

// awaitEngine waits until the engine answers.
func (a *dockerAttacher) awaitEngine() error {
	const glance = 20 * time.Millisecond
	for end := time.Now().Add(readiness); ; time.Sleep(glance) {
		err := a.call(http.MethodGet, "/_ping", nil, nil)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// load imports an image with one program in it.
func (a *dockerAttacher) load(program string) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	err = t.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(text))})
	if err == nil {
		_, err = t.Write(text)
	}
	if err := errors.Join(err, t.Close()); err != nil {
		return err
	}
	return a.send(http.MethodPost, "/images/create?fromSrc=-&repo="+dockerImage, "application/x-tar", &b, nil)
}

// attach makes a container that publishes the ports, which is prepared: it runs, and is in the internal network only.
func (a *dockerAttacher) attach(c *container, ports []uint16) ([]step, error) {
	if err := a.remove(c); err != nil {
		return nil, err
	}
	bindings, exposed := make(map[string]any), make(map[string]any)
	for _, port := range ports {
		key := strconv.Itoa(int(port)) + "/tcp"
		bindings[key], exposed[key] = []map[string]string{{"HostPort": strconv.Itoa(int(port))}}, struct{}{}
	}
	var made struct {
		ID string `json:"Id"`
	}
	err := a.call(http.MethodPost, "/containers/create", map[string]any{
		"Image": dockerImage, "Cmd": []string{"/pause"}, "ExposedPorts": exposed,
		"HostConfig": map[string]any{"NetworkMode": dockerIdle, "PortBindings": bindings},
	}, &made)
	if err != nil {
		return nil, err
	}
	a.ids[c] = made.ID
	if err := a.call(http.MethodPost, "/containers/"+made.ID+"/start", nil, nil); err != nil {
		return nil, err
	}
	if err := a.enter(c); err != nil {
		return nil, err
	}
	return []step{{"call", func() error {
		return a.call(http.MethodPost, "/networks/bridge/connect", map[string]string{"Container": made.ID}, nil)
	}}}, nil
}

// enter makes the namespace of the engine's container c's own.
func (a *dockerAttacher) enter(c *container) error {
	var info struct{ NetworkSettings struct{ SandboxKey string } }
	if err := a.call(http.MethodGet, "/containers/"+a.ids[c]+"/json", nil, &info); err != nil {
		return err
	}
	ns, err := netns.Open(info.NetworkSettings.SandboxKey)
	if err != nil {
		return err
	}
	c.ns.Close()
	c.ns, c.idle = ns, 1
	return nil
}

func (a *dockerAttacher) detach(c *container, _ []uint16) ([]step, error) {
	return []step{{"call", func() error {
		return a.call(http.MethodPost, "/networks/bridge/disconnect", map[string]string{"Container": a.ids[c]}, nil)
	}}}, nil
}

// remove takes the engine's container away, if there is one.
func (a *dockerAttacher) remove(c *container) error {
	id, ok := a.ids[c]
	if !ok {
		return nil
	}
	delete(a.ids, c)
	return a.call(http.MethodDelete, "/containers/"+id+"?force=1", nil, nil)
}

// publish is for the ports that others on the host have: rules as the engine makes them, without containers.
func (a *dockerAttacher) publish(ports []uint16) op {
	var b strings.Builder
	b.WriteString("*nat\n")
	for _, port := range ports {
		fmt.Fprintf(&b, "-A DOCKER ! -i %s -p tcp --dport %d -j DNAT --to-destination %s:%[2]d\n", bridgeName, port, insideAddr.Addr())
	}
	b.WriteString("COMMIT\n*filter\n")
	for _, port := range ports {
		fmt.Fprintf(&b, "-A DOCKER -d %s/32 ! -i %s -o %[2]s -p tcp --dport %d -j ACCEPT\n", insideAddr.Addr(), bridgeName, port)
	}
	b.WriteString("COMMIT\n")
	return func() error {
		_, err := a.w.host.exec(b.String(), "iptables-restore", "--noflush")
		return err
	}
}

// call makes a request with a body in JSON, if there is one, and decodes the answer, if that is wanted.
func (a *dockerAttacher) call(method, path string, in, out any) error {
	if in == nil {
		return a.send(method, path, "", nil, out)
	}
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return a.send(method, path, "application/json", bytes.NewReader(text), out)
}

func (a *dockerAttacher) send(method, path, kind string, body io.Reader, out any) error {
	req, err := http.NewRequest(method, "http://docker"+path, body)
	if err != nil {
		return err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := a.api.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode != http.StatusNotModified {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(answer))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// held reads the rules as iptables-save prints them.
func (a *dockerAttacher) held() (translations, error) {
	out, err := a.w.host.exec("", "iptables-save", "-t", "nat")
	if err != nil {
		return nil, err
	}
	return savedTranslations(out)
}

func (a *dockerAttacher) world() *world { return a.w }

func (a *dockerAttacher) close() error {
	var err error
	for c := range a.ids {
		err = errors.Join(err, a.remove(c))
	}
	if a.engine != nil && a.engine.Process != nil {
		err = errors.Join(err, a.engine.Process.Signal(unix.SIGTERM), a.engine.Wait())
	}
	if err != nil {
		err = fmt.Errorf("the engine: %w\n%s", err, strings.TrimSpace(a.log.String()))
	}
	return errors.Join(err, os.RemoveAll(a.dir), a.w.close())
}
