package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/serve"
)

// maxBody is the length of the longest body, in bytes: every port there is, at some 110 bytes each.
const maxBody = 8 << 20

// mimeType is that of the protocol's answers.
const mimeType = "application/vnd.docker.plugins.v1.2+json"

// Options are what a Server can be told. The zero value is usable.
type Options struct {
	// Log gets warnings of published ports, and the server's own failures; nil: nobody does.
	Log *slog.Logger
	// EngineSocket is the path of Docker's own API, which is asked for the names of containers; "": they stay unknown.
	EngineSocket string
}

// Server answers Docker's plugin calls by asking an engine.
type Server struct {
	driver *driver
	calls  map[string]call // by path
	server *serve.Server
}

// New makes a server of the engine.
func New(engine Engine, opts Options) *Server {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{driver: &driver{engine: engine, log: log, names: newNames(engine, opts.EngineSocket, log)}, calls: calls()}
	s.server = serve.New(handler{s}, serve.Options{Log: log, MaxBody: maxBody, Drain: true})
	return s
}

// Listen listens on the unix socket at path, for root alone, which Docker's engine is. See [serve.Listen].
func Listen(path string) (net.Listener, error) { return serve.Listen(path, serve.Access{Mode: 0o600}) }

// Serve answers calls that come in at l until ctx is done, then lets those under way finish, closes l and returns nil. Each connection of l
// must be a unix socket's. It can be called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	asking := s.driver.names.start(ctx)
	err := s.server.Serve(ctx, l)
	asking()
	return err
}

// handler answers the calls of a server.
type handler struct{ *Server }

// Serve does what a call asks for. From then on it is done whether Docker waits for the answer or not.
func (s handler) Serve(c *serve.Call) error {
	call, ok := s.calls[c.URL.Path]
	switch {
	case !ok:
		return bridged.Errorf(bridged.ErrNotFound, "no such call: %s", c.URL.Path)
	case c.Method != http.MethodPost:
		return bridged.Errorf(bridged.ErrInvalid, "method %s is not possible for %s: use POST", c.Method, c.URL.Path)
	}
	if err := c.Peer().MayChange(""); err != nil {
		return err
	}
	body, err := c.ReadBody()
	if err != nil {
		return err
	}
	if !call.early {
		if err := c.Await(s.driver.engine.Ready()); err != nil {
			return err
		}
	}
	c.Detach()
	do, err := call.decode(c, body)
	if err != nil {
		return err
	}
	answer, err := do(s.driver)
	if err == nil {
		s.answer(c, http.StatusOK, answer)
	}
	return err
}

// Fail sends an error, in the field that Docker looks at. Docker takes any other status than 200 for a plugin that does not work, and 404 for a call
// that it does not have.
func (s handler) Fail(c *serve.Call, err error) {
	if bridged.Code(err) == "internal" {
		s.driver.log.Error("a plugin call failed", "path", c.URL.Path, "error", err)
	}
	field, status := "Err", http.StatusOK
	if strings.HasPrefix(c.URL.Path, ipamPrefix) {
		field = "Error"
	}
	if _, ok := s.calls[c.URL.Path]; !ok {
		status = http.StatusNotFound
	}
	s.answer(c, status, map[string]string{field: err.Error()})
}

func (s handler) answer(c *serve.Call, status int, answer any) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(answer); err != nil {
		panic(err) // all answers are of types that can be
	}
	c.W.Header().Set("Content-Type", mimeType)
	c.Answer(status, text.Bytes())
}
