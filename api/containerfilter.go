package api

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/bridged/bridged"
)

// containerFilterKeys are the keys of `docker ps --filter`.
var containerFilterKeys = []string{
	"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since", "status", "volume",
}

// containerStates are the states that a container can be in. A sandbox is in one only.
var containerStates = []string{"created", "restarting", stateRunning, "removing", "paused", "exited", "dead"}

// containerTest reports whether a sandbox passes a filter.
type containerTest func(bridged.SandboxInfo) bool

// containerTests reads the filters of a list of containers: what passes them all is shown. Sandboxes have no labels, images, volumes,
// exit status and health.
func (s *Server) containerTests(text string) ([]containerTest, error) {
	f, err := parseFilters(text, containerFilterKeys...)
	if err != nil {
		return nil, err
	}
	for key, possible := range map[string][]string{
		"status": containerStates, "health": {"starting", "healthy", "unhealthy", "none"}, "is-task": slices.Concat(yes, no),
	} {
		if err := f.oneOf(key, possible...); err != nil {
			return nil, err
		}
	}
	names, err := patterns(f["name"])
	if err != nil {
		return nil, err
	}
	tests := []containerTest{
		func(sb bridged.SandboxInfo) bool {
			return f.any("id", func(v string) bool { return strings.HasPrefix(sb.ID, v) }) && (len(names) == 0 || matchName(names, sb.Name)) &&
				f.any("network", func(v string) bool { return inNetwork(sb, v) })
		},
		func(bridged.SandboxInfo) bool {
			return f.any("status", func(v string) bool { return v == stateRunning }) && f.any("health", func(v string) bool { return v == "none" }) &&
				f.any("is-task", func(v string) bool { return slices.Contains(no, v) }) &&
				len(f["ancestor"])+len(f["exited"])+len(f["isolation"])+len(f["label"])+len(f["volume"]) == 0
		},
	}
	for key, port := range map[string]func(bridged.Port) uint16{
		"expose":  func(p bridged.Port) uint16 { return p.ContainerPort },
		"publish": func(p bridged.Port) uint16 { return p.Binding.HostPort },
	} {
		test, err := portTest(key, f[key], port)
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	for _, key := range []string{"before", "since"} {
		for _, ref := range f[key] {
			other, err := s.dockerContainer(ref)
			if err != nil {
				return nil, err
			}
			tests = append(tests, func(sb bridged.SandboxInfo) bool {
				if key == "before" {
					return sb.Created.Before(other.Created)
				}
				return sb.Created.After(other.Created)
			})
		}
	}
	return tests, nil
}

// patterns are the regular expressions that names are found by.
func patterns(texts []string) ([]*regexp.Regexp, error) {
	var all []*regexp.Regexp
	for _, text := range texts {
		if len(text) > bridged.MaxName { // a long one could take long
			return nil, bridged.Errorf(bridged.ErrInvalid, `invalid filter "name"=%.20q…: %d bytes, at most %d are possible`, text, len(text), bridged.MaxName)
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, bridged.Errorf(bridged.ErrInvalid, `invalid filter "name"=%q: %w`, text, err)
		}
		all = append(all, re)
	}
	return all, nil
}

// matchName looks for a name with and without its slash.
func matchName(names []*regexp.Regexp, name string) bool {
	return slices.ContainsFunc(names, func(re *regexp.Regexp) bool { return re.MatchString(name) || re.MatchString("/"+name) })
}

// inNetwork reports whether a sandbox is in the network with that name or beginning of an id.
func inNetwork(sb bridged.SandboxInfo, ref string) bool {
	return slices.ContainsFunc(sb.Joined, func(j bridged.Joined) bool {
		return j.Network.Name == ref || strings.HasPrefix(j.Network.ID, ref)
	}) || sb.Mode != bridged.ModeBridge && networkMode(sb) == ref
}

// portRange is ports of one protocol.
type portRange struct {
	first, last uint64
	proto       bridged.Proto
}

// portTest looks for a port among PORT[-END][/PROTO].
func portTest(key string, texts []string, number func(bridged.Port) uint16) (containerTest, error) {
	var ranges []portRange
	for _, text := range texts {
		span, proto, _ := strings.Cut(text, "/")
		first, last, found := strings.Cut(span, "-")
		if !found {
			last = first
		}
		var r portRange
		var errs [3]error
		r.first, errs[0] = strconv.ParseUint(first, 10, 16)
		r.last, errs[1] = strconv.ParseUint(last, 10, 16)
		r.proto, errs[2] = bridged.ParseProto(cmp.Or(proto, bridged.TCP.String()))
		if errors.Join(errs[:]...) != nil || r.last < r.first {
			return nil, bridged.Errorf(bridged.ErrInvalid, "invalid filter %q=%q: want a port or a range, as 80/tcp or 8000-8010", key, text)
		}
		ranges = append(ranges, r)
	}
	return func(sb bridged.SandboxInfo) bool {
		return len(ranges) == 0 || slices.ContainsFunc(sb.Ports, func(p bridged.Port) bool {
			n := uint64(number(p))
			return slices.ContainsFunc(ranges, func(r portRange) bool {
				return r.first <= n && n <= r.last && r.proto == p.Binding.Proto
			})
		})
	}, nil
}
