package docker

import "github.com/bridged/bridged/internal/serve"

// What begins the paths of the two drivers' calls.
const (
	networkPrefix = "/NetworkDriver."
	ipamPrefix    = "/IpamDriver."
)

// call is one call of the protocol.
type call struct {
	// early: it can be answered before the engine is ready.
	early bool
	// decode checks the shape of the body, and returns what does the call.
	decode func(c *serve.Call, body []byte) (do func(*driver) (answer any, err error), err error)
}

// calls is the table of all calls, by path.
func calls() map[string]call {
	return map[string]call{
		"/Plugin.Activate":                            early(implements{[]string{"NetworkDriver", "IpamDriver"}}),
		networkPrefix + "GetCapabilities":             early(networkCapabilities{Scope: "local", ConnectivityScope: "local", GwAllocChecker: true}),
		networkPrefix + "GwAllocCheck":                does((*driver).checkGateways),
		networkPrefix + "CreateNetwork":               does((*driver).createNetwork),
		networkPrefix + "DeleteNetwork":               does((*driver).deleteNetwork),
		networkPrefix + "CreateEndpoint":              does((*driver).createEndpoint),
		networkPrefix + "EndpointOperInfo":            does((*driver).endpointInfo),
		networkPrefix + "DeleteEndpoint":              does((*driver).deleteEndpoint),
		networkPrefix + "Join":                        does((*driver).join),
		networkPrefix + "Leave":                       does((*driver).leave),
		networkPrefix + "ProgramExternalConnectivity": does((*driver).publish),
		networkPrefix + "RevokeExternalConnectivity":  does((*driver).unpublish),
		networkPrefix + "DiscoverNew":                 does((*driver).discover),
		networkPrefix + "DiscoverDelete":              does((*driver).discover),
		ipamPrefix + "GetCapabilities":                early(ipamCapabilities{}),
		ipamPrefix + "GetDefaultAddressSpaces":        early(addressSpaces{localSpace, globalSpace}),
		ipamPrefix + "RequestPool":                    does((*driver).requestPool),
		ipamPrefix + "ReleasePool":                    does((*driver).releasePool),
		ipamPrefix + "RequestAddress":                 does((*driver).requestAddress),
		ipamPrefix + "ReleaseAddress":                 does((*driver).releaseAddress),
	}
}

// does is a call that does something with its parameters.
func does[In, Out any](do func(*driver, *serve.Call, In) (Out, error)) call {
	return call{decode: func(c *serve.Call, body []byte) (func(*driver) (any, error), error) {
		defer c.Decode()()
		var in In
		if err := decode(body, &in); err != nil {
			return nil, err
		}
		return func(d *driver) (any, error) { return do(d, c, in) }, nil
	}}
}

// early is a call without parameters that is always answered in the same way.
func early[Out any](answer Out) call {
	c := does(func(*driver, *serve.Call, none) (Out, error) { return answer, nil })
	c.early = true
	return c
}
