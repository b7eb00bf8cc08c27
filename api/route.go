package api

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

// route is a row of the table: one call.
type route struct {
	method string
	// path may hold parameters, as {ref}, each a whole segment.
	path string
	// query are the names of the query parameters that the call knows.
	query []string
	// docker: the call is Docker's: the path may begin with its version, and unknown fields are accepted while they are zero.
	docker bool
	// change: the call changes something.
	change bool
	// status is the answer's when all went well.
	status int
	// conflict is the answer's when something is in the way; 0: 409.
	conflict int
	// serve returns the answer's body: nil, plainText, a stream, or a value for JSON.
	serve func(*Server, *call) (any, error)
}

// routes is the table of all calls.
func routes() []route {
	const ours = client.Prefix
	return []route{
		{method: "GET", path: "/_ping", docker: true, status: 200, serve: (*Server).ping},
		{method: "GET", path: "/version", docker: true, status: 200, serve: (*Server).dockerVersion},
		{method: "GET", path: "/networks", query: []string{"filters"}, docker: true, status: 200, serve: (*Server).networks},
		{method: "GET", path: "/networks/{ref}", query: []string{"verbose", "scope"}, docker: true, status: 200, serve: (*Server).network},
		{method: "POST", path: "/networks/create", docker: true, change: true, status: 201, serve: (*Server).createNetwork},
		{method: "DELETE", path: "/networks/{ref}", docker: true, change: true, status: 204, conflict: 403, serve: (*Server).removeNetwork},
		{method: "POST", path: "/networks/{ref}/connect", docker: true, change: true, status: 200, conflict: 403, serve: (*Server).connectNetwork},
		{method: "POST", path: "/networks/{ref}/disconnect", docker: true, change: true, status: 200, conflict: 403, serve: (*Server).disconnectNetwork},
		{method: "POST", path: "/networks/prune", query: []string{"filters"}, docker: true, change: true, status: 200, serve: (*Server).pruneNetworks},
		{method: "GET", path: "/containers/json", query: []string{"all", "limit", "size", "filters"}, docker: true, status: 200, serve: (*Server).containers},
		{method: "GET", path: "/containers/{ref}/json", query: []string{"size"}, docker: true, status: 200, serve: (*Server).container},
		{method: "GET", path: "/info", docker: true, status: 200, serve: (*Server).dockerInfo},
		{method: "GET", path: "/events", query: []string{"since", "until", "filters"}, docker: true, status: 200, serve: (*Server).dockerEvents},

		{method: "GET", path: ours + "/status", query: []string{"wait"}, status: 200, serve: (*Server).status},
		{method: "GET", path: ours + "/version", status: 200, serve: (*Server).version},
		{method: "GET", path: ours + "/ruleset", query: []string{"view"}, status: 200, serve: (*Server).ruleset},
		{method: "GET", path: ours + "/events", query: []string{"since", "follow"}, status: 200, serve: (*Server).events},
		{method: "GET", path: ours + "/sandboxes", status: 200, serve: (*Server).sandboxes},
		{method: "GET", path: ours + "/sandboxes/{ref}", status: 200, serve: (*Server).sandbox},
		{method: "POST", path: ours + "/sandboxes", change: true, status: 201, serve: (*Server).createSandbox},
		{method: "DELETE", path: ours + "/sandboxes/{ref}", change: true, status: 204, serve: (*Server).removeSandbox},
		{method: "GET", path: ours + "/ports", query: []string{"sandbox"}, status: 200, serve: (*Server).ports},
		{method: "POST", path: ours + "/ports", change: true, status: 201, serve: (*Server).addPorts},
		{method: "DELETE", path: ours + "/ports", query: []string{"sandbox", "port"}, change: true, status: 204, serve: (*Server).removePorts},
		{method: "GET", path: ours + "/links", query: []string{"sandbox"}, status: 200, serve: (*Server).links},
		{method: "POST", path: ours + "/links", change: true, status: 201, serve: (*Server).addLink},
		{method: "DELETE", path: ours + "/links", query: []string{"parent", "child"}, change: true, status: 204, serve: (*Server).removeLink},

		{method: "POST", path: ours + "/attachments", change: true, status: 201, serve: (*Server).attach},
		{method: "DELETE", path: ours + "/attachments", query: []string{"network", "container", "interface"}, change: true, status: 204, serve: (*Server).detach},
		{method: "POST", path: ours + "/attachments/check", change: true, status: 204, serve: (*Server).checkAttachment},
		{method: "POST", path: ours + "/attachments/collect", change: true, status: 200, serve: (*Server).collectAttachments},

		{method: "POST", path: ours + "/allocate_interface", change: true, status: 200, serve: (*Server).allocateInterface},
		{method: "POST", path: ours + "/release_interface", change: true, status: 204, serve: (*Server).releaseInterface},
		{method: "POST", path: ours + "/allocate_port", change: true, status: 200, serve: (*Server).allocatePort},
		{method: "POST", path: ours + "/link", change: true, status: 204, serve: (*Server).link},
	}
}

// httpError is an error with a status of its own; all others have that of their kind.
type httpError struct {
	error
	status int
	allow  string // the Allow header of a 405
}

func (e *httpError) Unwrap() error { return e.error }

// versionPrefix begins Docker's paths when its client knows the API version.
var versionPrefix = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^/v1\.[0-9]+/`) })

// notOffered begins the paths of Docker's API that are not ours to answer.
var notOffered = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^/(auth|build|commit|configs|containers|distribution|exec|grpc|images|nodes|plugins|secrets|services|` +
		`session|swarm|system|tasks|volumes)(/|$)`)
})

// findRoute finds the row for a request, and the parameters of its path.
func findRoute(table []route, r *http.Request) (*route, map[string]string, error) {
	path := r.URL.EscapedPath()
	docker := path
	if prefix := versionPrefix().FindString(path); prefix != "" {
		docker = path[len(prefix)-1:]
	}
	var allow []string
	for i := range table {
		rt, p := &table[i], path
		if rt.docker {
			p = docker
		}
		params, ok := matchPath(rt.path, p)
		switch {
		case !ok:
		case rt.method == r.Method, rt.method == http.MethodGet && r.Method == http.MethodHead:
			return rt, params, nil
		default:
			allow = append(allow, rt.method)
		}
	}
	switch {
	case notOffered().MatchString(docker):
		return nil, nil, &httpError{status: http.StatusNotImplemented,
			error: bridged.Errorf(bridged.ErrUnavailable, "not supported: %s %s", r.Method, r.URL.Path)}
	case allow != nil:
		if slices.Contains(allow, http.MethodGet) {
			allow = append(allow, http.MethodHead)
		}
		return nil, nil, &httpError{status: http.StatusMethodNotAllowed, allow: strings.Join(allow, ", "),
			error: bridged.Errorf(bridged.ErrInvalid, "method %s is not possible for %s: use %s", r.Method, r.URL.Path, strings.Join(allow, ", "))}
	}
	return nil, nil, bridged.Errorf(bridged.ErrNotFound, "no such call: %s %s", r.Method, r.URL.Path)
}

// matchPath compares an escaped path with a route's, and returns the parameters, unescaped.
func matchPath(pattern, path string) (params map[string]string, ok bool) {
	for more := true; more; {
		var want, have string
		var longer bool
		want, pattern, more = strings.Cut(pattern, "/")
		have, path, longer = strings.Cut(path, "/")
		if more != longer {
			return nil, false
		}
		if !strings.HasPrefix(want, "{") {
			if want != have {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(have)
		if err != nil || value == "" {
			return nil, false
		}
		if params == nil {
			params = make(map[string]string)
		}
		params[strings.Trim(want, "{}")] = value
	}
	return params, true
}

// checkQuery refuses query parameters that the call does not know: a misspelt one must not pass for none. In Docker's calls they are accepted
// while they are zero.
func (rt *route) checkQuery(r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return bridged.Errorf(bridged.ErrInvalid, "invalid query %q: %w", r.URL.RawQuery, err)
	}
	for name, values := range query {
		says := func(value string) bool { return !slices.Contains([]string{"", "0", "false"}, value) }
		switch {
		case slices.Contains(rt.query, name):
		case rt.docker && !slices.ContainsFunc(values, says):
		default:
			return bridged.Errorf(bridged.ErrInvalid, "unknown query parameter %q for %s %s", name, rt.method, rt.path)
		}
	}
	return nil
}
