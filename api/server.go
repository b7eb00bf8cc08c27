package api

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/serve"
)

// Options are what a Server can be told. The zero value is usable.
type Options struct {
	// Log gets the server's own failures; nil: nobody does.
	Log *slog.Logger
}

// Server answers HTTP requests by asking an engine.
type Server struct {
	engine Engine
	routes []route
	log    *slog.Logger
	server *serve.Server
}

// New makes a server of the engine.
func New(engine Engine, opts Options) *Server {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{engine: engine, routes: routes(), log: log}
	s.server = serve.New(handler{s}, serve.Options{Log: log})
	return s
}

// Serve answers requests that come in at l until ctx is done, then lets those under way finish, closes l and returns nil.
// Each connection of l must be a unix socket's. It can be called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.server.Serve(ctx, l) }

// handler answers the calls of a server.
type handler struct{ *Server }

// Serve finds the route and answers as it says.
func (s handler) Serve(sc *serve.Call) error {
	c := &call{Call: sc, server: s.Server}
	rt, params, err := findRoute(s.routes, c.Request)
	if err != nil {
		return err
	}
	if c.docker = rt.docker; c.docker {
		setDockerHeaders(c.W.Header())
	}
	for name, value := range params {
		c.SetPathValue(name, value)
	}
	if err := s.admit(rt, c); err != nil {
		return err
	}
	body, err := rt.serve(s.Server, c)
	switch {
	case err == nil:
		s.answer(c, rt.status, body)
	case rt.conflict != 0 && errors.Is(err, bridged.ErrConflict):
		err = &httpError{error: err, status: rt.conflict}
	}
	return err
}

// admit lets a call through to its handler, when it is allowed to and can be done. From then on a change is made whether its client
// waits for it or not.
func (s *Server) admit(rt *route, c *call) error {
	if rt.docker {
		if err := checkVersion(c.URL.EscapedPath()); err != nil {
			return err
		}
	}
	if err := rt.checkQuery(c.Request); err != nil {
		return err
	}
	if !rt.change {
		return nil
	}
	if err := c.Peer().MayChange(Group); err != nil {
		return err
	}
	if err := c.Await(s.engine.Ready()); err != nil {
		return err
	}
	c.Detach()
	return nil
}
