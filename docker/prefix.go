package docker

import (
	"cmp"
	"strings"
	"sync"

	"github.com/bridged/bridged"
)

// prefixes are what the names of interfaces begin with that users have asked for, by endpoint, from its creation to its end: Docker says it with the first
// call, and asks for it with a later one. A daemon that starts in between knows nothing of it; the interface is then called as others are.
type prefixes struct {
	mu sync.Mutex
	of map[string]string
}

// set remembers an endpoint's; "": it has none.
func (p *prefixes) set(endpoint, prefix string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if prefix == "" {
		delete(p.of, endpoint)
		return
	}
	if p.of == nil {
		p.of = make(map[string]string)
	}
	p.of[endpoint] = prefix
}

// get is that of an endpoint on a network.
func (p *prefixes) get(j bridged.Joined) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.of[j.Endpoint.Sandbox], j.Network.InterfacePrefix, "eth")
}

// prefix is what the name of the interface that the user asked for begins with; "": none was asked for. Docker puts a number behind it, 0 for the first
// interface of a container with that prefix: no other name can be had.
func (o options) prefix() (string, error) {
	var name string
	if asked, err := o.option(bridged.OptionInterface, &name); err != nil || !asked {
		return "", err
	}
	prefix, numbered := strings.CutSuffix(name, "0")
	if !numbered || prefix == "" {
		return "", bridged.Errorf(bridged.ErrInvalid, "invalid endpoint option %s=%.20s: Docker gives a driver's interfaces names that end with a number, "+
			"the first the number 0: use a name as wan0", bridged.OptionInterface, name)
	}
	return prefix, nil
}
