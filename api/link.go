package api

import (
	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

func (s *Server) links(c *call) (any, error) {
	query := c.URL.Query()
	ref := query.Get("sandbox")
	if query.Has("sandbox") && ref == "" {
		return nil, bridged.Errorf(bridged.ErrInvalid, `query parameter "sandbox" is empty: want a sandbox's name or id`)
	}
	infos, err := s.engine.Links(ref)
	if err != nil {
		return nil, err
	}
	return wireLinks(infos), nil
}

func (s *Server) addLink(c *call) (any, error) {
	var in client.LinkCreate
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	spec := bridged.LinkSpec{Parent: in.Parent, Child: in.Child, Alias: in.Alias}
	switch {
	case in.Parent == "":
		return nil, fieldError("Parent", "is missing: want a sandbox's name or id")
	case in.Child == "":
		return nil, fieldError("Child", "is missing: want a sandbox's name or id")
	}
	var err error
	if spec.Ports, err = protoPorts(in.Ports); err != nil {
		return nil, err
	}
	l, err := s.engine.AddLink(c.Context(), spec)
	if err != nil {
		return nil, err
	}
	return wireLink(l), nil
}

func (s *Server) removeLink(c *call) (any, error) {
	query := c.URL.Query()
	for _, name := range []string{"parent", "child"} {
		if query.Get(name) == "" {
			return nil, bridged.Errorf(bridged.ErrInvalid, "query parameter %q is missing: want a sandbox's name or id", name)
		}
	}
	return nil, s.engine.RemoveLink(c.Context(), query.Get("parent"), query.Get("child"))
}

// protoPorts reads the field Ports of a link.
func protoPorts(texts []string) ([]bridged.ProtoPort, error) {
	var ports []bridged.ProtoPort
	for _, text := range texts {
		p, err := bridged.ParseProtoPort(text)
		if err != nil {
			return nil, fieldError("Ports", "%w", err)
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func wireLinks(infos []bridged.LinkInfo) []client.Link {
	all := make([]client.Link, len(infos))
	for i, l := range infos {
		all[i] = wireLink(l)
	}
	return all
}

func wireLink(l bridged.LinkInfo) client.Link {
	out := client.Link{
		Parent: l.ParentName, Child: l.ChildName, Alias: l.Alias, Ports: []string{},
		ParentIP: addrText(l.ParentIP), ChildIP: addrText(l.ChildIP),
	}
	for _, p := range l.Ports {
		out.Ports = append(out.Ports, p.String())
	}
	return out
}
