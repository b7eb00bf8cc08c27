package api

import (
	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

func (s *Server) attach(c *call) (any, error) {
	spec, err := attachmentSpec(c)
	if err != nil {
		return nil, err
	}
	a, err := s.engine.Attach(c.Context(), spec)
	if err != nil {
		return nil, err
	}
	a.IPs, a.Routes, a.Ports, a.Warnings = notNil(a.IPs), notNil(a.Routes), notNil(a.Ports), notNil(a.Warnings)
	return a, nil
}

func (s *Server) checkAttachment(c *call) (any, error) {
	spec, err := attachmentSpec(c)
	if err != nil {
		return nil, err
	}
	return nil, s.engine.CheckAttachment(c.Context(), spec)
}

// attachmentSpec reads the body of an attach or a check. The engine checks what it asks for.
func attachmentSpec(c *call) (spec bridged.AttachmentSpec, err error) {
	if err := c.decode(&spec); err != nil {
		return spec, err
	}
	return spec, checkNamespace(client.SandboxCreate{NetNS: spec.NetNS})
}

func (s *Server) detach(c *call) (any, error) {
	query := c.URL.Query()
	for _, name := range []string{"network", "container", "interface"} {
		if query.Get(name) == "" {
			return nil, bridged.Errorf(bridged.ErrInvalid, "query parameter %q is missing", name)
		}
	}
	return nil, s.engine.Detach(c.Context(), bridged.AttachmentKey{
		Network: query.Get("network"), Container: query.Get("container"), Interface: query.Get("interface"),
	})
}

func (s *Server) collectAttachments(c *call) (any, error) {
	var in bridged.AttachmentCollection
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	done, err := s.engine.CollectAttachments(c.Context(), in)
	if err != nil {
		return nil, err
	}
	done.Removed, done.Errors = notNil(done.Removed), notNil(done.Errors)
	return done, nil
}
