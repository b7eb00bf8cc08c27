package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

// What one client of a storm has at most.
const (
	stormSandboxes = 4
	stormLeases    = 2
	stormPublished = 6
	stormLinks     = 3
	// stormNetworks are how many names networks have, and stormJoined the first of these, which sandboxes and leases are in.
	stormNetworks, stormJoined = 20, 6
)

// stormClient makes one call after the other. What it made, nobody else removes; but others use it: they share its sandboxes' stacks,
// link and publish them, and join its networks.
type stormClient struct {
	s   *storm
	n   int
	api *client.Client
	rnd *rand.Rand

	made      int
	sandboxes []*promise
	leases    []string
	published []publishing
	links     []linkKey
}

// publishing is what one call published.
type publishing struct {
	sandbox string // id
	specs   []string
	ports   []*portPromise
}

func newStormClient(s *storm, n int) *stormClient {
	return &stormClient{s: s, n: n, api: s.dial(), rnd: rand.New(rand.NewPCG(s.seed, uint64(n)))}
}

// loop makes calls until the storm is over.
func (c *stormClient) loop(over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		default:
			c.step()
		}
	}
}

// step is one call, drawn at random.
func (c *stormClient) step() {
	switch n := c.rnd.IntN(100); {
	case n < 25:
		c.create()
	case n < 37:
		c.remove()
	case n < 40:
		c.roam()
	case n < 53:
		c.publish()
	case n < 63:
		c.unpublish()
	case n < 69:
		c.link()
	case n < 73:
		c.unlink()
	case n < 77:
		c.createNetwork()
	case n < 80:
		c.removeNetwork()
	case n < 87:
		c.allocate()
	case n < 91:
		c.allocatePort()
	case n < 96:
		c.release()
	default:
		c.linkAddresses()
	}
}

// do makes a call. What collides with others is refused; any other failure is one of the test, unless there are vandals.
func (c *stormClient) do(what string, f func(context.Context) error) bool {
	err := c.s.within(what, func() error { return f(context.Background()) })
	c.s.ledger.count(what, err)
	switch {
	case err == nil:
		return true
	case errors.Is(err, bridged.ErrConflict), errors.Is(err, bridged.ErrNotFound), errors.Is(err, bridged.ErrInvalid):
	case c.s.vandals: // a link or a table that the call needs has just gone
	default:
		c.s.t.Errorf("%s: %v", what, err)
	}
	return false
}

// must is do for a call that nothing can be in the way of.
func (c *stormClient) must(what string, f func(context.Context) error) bool {
	var err error
	ok := c.do(what, func(ctx context.Context) error { err = f(ctx); return err })
	if !ok && !c.s.vandals {
		c.s.t.Errorf("%s, which nothing is in the way of: %v", what, err)
	}
	return ok
}

func (c *stormClient) name(kind string) string {
	c.made++
	return fmt.Sprintf("%s%d-%d", kind, c.n, c.made)
}

// specs are port specifications that collide with those of others more often than not.
func (c *stormClient) specs(n int) []string {
	var all []string
	for range n {
		host := []string{"", "", "0.0.0.0:", "127.0.0.1:", "127.0.0.2:"}[c.rnd.IntN(5)]
		port := 20000 + c.rnd.IntN(200)
		number := []string{strconv.Itoa(port) + ":", fmt.Sprintf("%d-%d:", port, port+20), ""}[c.rnd.IntN(3)]
		if host != "" && number == "" {
			number = ":"
		}
		all = append(all, fmt.Sprintf("%s%s%d/%s", host, number, 1+c.rnd.IntN(100), []string{"tcp", "udp", "sctp"}[c.rnd.IntN(3)]))
	}
	return all
}

// create makes a sandbox in any mode.
func (c *stormClient) create() {
	if len(c.sandboxes) >= stormSandboxes {
		return
	}
	in := client.SandboxCreate{Name: c.name("s")}
	var owner *promise
	switch n := c.rnd.IntN(10); {
	case n < 3:
	case n < 5:
		in.Network = c.s.ledger.anyNetwork(c.rnd, true)
	case n < 6:
		in.Network = "none"
	case n < 7:
		in.Network = "host"
	default:
		if owner = c.s.ledger.anySandbox(c.rnd); owner != nil {
			in.Network = "container:" + owner.ID
		}
	}
	if owner == nil && in.Network != "host" {
		if given := c.s.given[c.n]; c.rnd.IntN(4) == 0 && !slices.ContainsFunc(c.sandboxes, func(p *promise) bool { return p.NetNS == given }) {
			in.NetNS = given
		}
		if in.Network != "none" {
			in.Ports = c.specs(c.rnd.IntN(4))
		}
		if in.Network == "" && c.rnd.IntN(4) == 0 {
			in.IPv4Address = fmt.Sprintf("172.17.200.%d", 1+c.rnd.IntN(20)) // others want it, too
		}
	}
	var got client.SandboxCreated
	call := func(ctx context.Context) (err error) { got, err = c.api.CreateSandbox(ctx, in); return err }
	alone := in.Network == "" && in.Ports == nil && in.IPv4Address == "" || in.Network == "none" || in.Network == "host"
	if in.NetNS != "" {
		alone = false // one that shared it may still have it
	}
	if do := map[bool]func(string, func(context.Context) error) bool{true: c.must, false: c.do}[alone]; !do("create", call) {
		return
	}
	p := &promise{Sandbox: got.Sandbox, stack: got.ID}
	if owner != nil {
		p.stack = owner.stack
	}
	c.s.violated(c.s.ledger.promise(p))
	c.sandboxes = append(c.sandboxes, p)
}

func (s *storm) violated(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

func (c *stormClient) remove() {
	if len(c.sandboxes) == 0 {
		return
	}
	c.removeNth(c.rnd.IntN(len(c.sandboxes)))
}

func (c *stormClient) removeNth(i int) {
	p := c.sandboxes[i]
	c.s.ledger.leaving(p.ID, true)
	ref := []string{p.Name, p.ID, p.ID[:32]}[c.rnd.IntN(3)]
	if !c.must("remove", func(ctx context.Context) error { return c.api.RemoveSandbox(ctx, ref) }) {
		c.s.ledger.leaving(p.ID, false)
		return
	}
	c.s.ledger.forget(p.ID)
	c.sandboxes = slices.Delete(c.sandboxes, i, i+1)
}

// roam takes one of its sandboxes into a further network, where its default route and its ports may move to, and out of it again.
func (c *stormClient) roam() {
	network := c.s.ledger.anyNetwork(c.rnd, true)
	if len(c.sandboxes) == 0 || network == "" {
		return
	}
	p := c.sandboxes[c.rnd.IntN(len(c.sandboxes))]
	if len(p.Networks) == 0 || p.stack != p.ID {
		return
	}
	in := client.NetworkConnect{Container: p.ID, EndpointConfig: &client.EndpointConfig{GwPriority: c.rnd.IntN(3) - 1}}
	if !c.do("connect", func(ctx context.Context) error { return c.api.Connect(ctx, network, in) }) {
		return
	}
	leave := func(ctx context.Context) error {
		return c.api.Disconnect(ctx, network, client.NetworkDisconnect{Container: p.ID})
	}
	for !c.must("disconnect", leave) && c.s.vandals { // who take away what it needs
	}
}

// publish publishes ports of anybody's sandbox.
func (c *stormClient) publish() {
	if len(c.published) >= stormPublished {
		return
	}
	p := c.s.ledger.anySandbox(c.rnd)
	if len(c.sandboxes) > 0 && c.rnd.IntN(2) == 0 {
		p = c.sandboxes[c.rnd.IntN(len(c.sandboxes))]
	}
	if p == nil {
		return
	}
	in := client.PortsAdd{Sandbox: p.ID, Ports: c.specs(1 + c.rnd.IntN(3))}
	var got client.PortsAdded
	if !c.do("publish", func(ctx context.Context) (err error) { got, err = c.api.AddPorts(ctx, in); return err }) {
		return
	}
	mine := publishing{sandbox: p.ID}
	for _, port := range got.Ports {
		b, spec := bindingOf(port)
		promised, err := c.s.ledger.publish(p.stack, b, port.Port)
		c.s.violated(err)
		mine.specs, mine.ports = append(mine.specs, spec), append(mine.ports, promised)
	}
	c.published = append(c.published, mine)
}

// bindingOf is a port as it is kept, and the specification that names just it.
func bindingOf(p client.Port) (bridged.Binding, string) {
	container, proto, _ := strings.Cut(p.Port, "/")
	b := hostPort(proto, client.HostPort{HostIP: p.HostIP, HostPort: p.HostPort})
	return b, fmt.Sprintf("%s:%s/%s", netip.AddrPortFrom(b.HostIP, b.HostPort), container, proto)
}

func hostPort(proto string, p client.HostPort) bridged.Binding {
	kind, err := bridged.ParseProto(proto)
	number, numberErr := strconv.ParseUint(p.HostPort, 10, 16)
	ip, ipErr := netip.ParseAddr(p.HostIP)
	if err := errors.Join(err, numberErr, ipErr); err != nil {
		panic(err) // the server's answer is none
	}
	return bridged.Binding{HostIP: ip, Proto: kind, HostPort: uint16(number)}
}

// unpublish takes back what one call of this client published. Its sandbox may be gone, and with it the ports.
func (c *stormClient) unpublish() {
	if len(c.published) == 0 {
		return
	}
	i := c.rnd.IntN(len(c.published))
	p := c.published[i]
	c.published = slices.Delete(c.published, i, i+1)
	there := c.s.ledger.unpublishing(p.ports)
	var err error
	if c.do("unpublish", func(ctx context.Context) error { err = c.api.RemovePorts(ctx, p.sandbox, p.specs); return err }) {
		c.s.ledger.unpublish(p.ports)
		return
	}
	c.s.ledger.keepPublished(p.ports)
	if there() && !c.s.vandals {
		c.s.t.Errorf("unpublishing what is there: %v", err)
	}
}

// link links a sandbox of this client to anybody's.
func (c *stormClient) link() {
	if len(c.sandboxes) == 0 || len(c.links) >= stormLinks {
		return
	}
	mine := c.sandboxes[c.rnd.IntN(len(c.sandboxes))]
	other := c.s.ledger.anySandbox(c.rnd)
	for range 10 { // most are in no network of mine
		if other != nil && slices.ContainsFunc(sortedKeys(other.Networks), func(n string) bool { _, ok := mine.Networks[n]; return ok }) {
			break
		}
		other = c.s.ledger.anySandbox(c.rnd)
	}
	if other == nil {
		return
	}
	in := client.LinkCreate{Parent: mine.ID, Child: other.ID}
	if c.rnd.IntN(2) == 0 {
		in.Ports = []string{fmt.Sprintf("%d/tcp", 1+c.rnd.IntN(100))}
	}
	if c.do("link", func(ctx context.Context) error { _, err := c.api.AddLink(ctx, in); return err }) {
		key := linkKey{parent: mine.ID, child: other.ID}
		c.s.violated(c.s.ledger.link(key, in.Ports))
		c.links = append(c.links, key)
	}
}

func (c *stormClient) unlink() {
	if len(c.links) == 0 {
		return
	}
	i := c.rnd.IntN(len(c.links))
	key := c.links[i]
	c.links = slices.Delete(c.links, i, i+1)
	if c.do("unlink", func(ctx context.Context) error { return c.api.RemoveLink(ctx, key.parent, key.child) }) {
		c.s.ledger.unlink(key)
	}
}

// createNetwork makes a network with one of few names, of which others make networks too.
func (c *stormClient) createNetwork() {
	n := c.rnd.IntN(stormNetworks)
	yes := true
	in := client.NetworkCreate{Name: fmt.Sprintf("n%d", n), Internal: c.rnd.IntN(4) == 0, Options: make(map[string]string)}
	if c.rnd.IntN(2) == 0 {
		in.Options[bridged.OptionICC] = "false"
	}
	if c.rnd.IntN(3) == 0 {
		in.EnableIPv6 = &yes
	}
	if c.rnd.IntN(3) == 0 {
		in.IPAM = &client.IPAM{Config: []client.IPAMConfig{{Subnet: fmt.Sprintf("10.9.%d.0/24", c.rnd.IntN(4))}}}
	}
	var got client.NetworkCreated
	if c.do("create network", func(ctx context.Context) (err error) { got, err = c.api.CreateNetwork(ctx, in); return err }) {
		c.s.violated(c.s.ledger.promiseNetwork(got.ID, in.Name))
	}
}

func (c *stormClient) removeNetwork() {
	id := c.s.ledger.anyNetwork(c.rnd, false)
	if id == "" {
		return
	}
	c.s.ledger.leavingNetwork(id)
	if c.do("remove network", func(ctx context.Context) error { return c.api.RemoveNetwork(ctx, id) }) {
		c.s.violated(c.s.ledger.forgetNetwork(id))
	} else {
		c.s.ledger.stayingNetwork(id)
	}
}

// allocate makes a lease under a key of this client's own, or one that others want, too.
func (c *stormClient) allocate() {
	in := client.InterfaceAllocate{ID: c.name("key")}
	contested := c.rnd.IntN(2) == 0
	switch {
	case contested:
		in.ID = fmt.Sprintf("shared%d", c.rnd.IntN(8))
	case len(c.leases) >= stormLeases:
		return
	}
	do := c.must
	if in.Network = ""; contested || c.rnd.IntN(2) == 0 {
		in.Network, do = c.s.ledger.anyNetwork(c.rnd, true), c.do
	}
	var got client.Interface
	if !do("allocate", func(ctx context.Context) (err error) { got, err = c.api.AllocateInterface(ctx, in); return err }) {
		return
	}
	c.s.ledger.lease(in.ID, got.IP)
	if !contested {
		c.leases = append(c.leases, in.ID)
	}
}

func (c *stormClient) release() {
	if c.rnd.IntN(2) == 0 {
		key := fmt.Sprintf("shared%d", c.rnd.IntN(8))
		if c.do("release", func(ctx context.Context) error { return c.api.ReleaseInterface(ctx, key) }) {
			c.s.ledger.release(key)
		}
	} else if len(c.leases) > 0 {
		c.releaseNth(c.rnd.IntN(len(c.leases)))
	}
}

func (c *stormClient) releaseNth(i int) {
	key := c.leases[i]
	c.s.ledger.leaving(key, true)
	if c.must("release", func(ctx context.Context) error { return c.api.ReleaseInterface(ctx, key) }) {
		c.s.ledger.release(key)
		c.leases = slices.Delete(c.leases, i, i+1)
	}
	c.s.ledger.leaving(key, false)
}

func (c *stormClient) allocatePort() {
	if len(c.leases) == 0 {
		return
	}
	key := c.leases[c.rnd.IntN(len(c.leases))]
	in := client.PortAllocate{ID: key, HostIP: []string{"0.0.0.0", "127.0.0.1"}[c.rnd.IntN(2)], ContainerPort: 1 + c.rnd.IntN(100)}
	if c.rnd.IntN(2) == 0 {
		in.HostPort = 20000 + c.rnd.IntN(200)
	}
	var got client.PortAllocated
	if c.do("allocate port", func(ctx context.Context) (err error) { got, err = c.api.AllocatePort(ctx, in); return err }) {
		b := hostPort("tcp", client.HostPort{HostIP: got.HostIP, HostPort: strconv.Itoa(got.HostPort)})
		_, err := c.s.ledger.publish(key, b, fmt.Sprintf("%d/tcp", in.ContainerPort))
		c.s.violated(err)
	}
}

// linkAddresses adds and removes a link between two addresses of this client's.
func (c *stormClient) linkAddresses() {
	parent, child, ok := c.neighbours()
	if !ok {
		return
	}
	in := client.LinkChange{Action: "add", ParentIP: parent.ip, ChildIP: child.ip, Ports: []string{fmt.Sprintf("%d/udp", 1+c.rnd.IntN(100))}}
	key := linkKey{parent: parent.stack, child: child.stack, addresses: parent.ip + " " + child.ip}
	if !c.do("link addresses", func(ctx context.Context) error { return c.api.Link(ctx, in) }) {
		return
	}
	c.s.ledger.open(key, in.Ports[0])
	if c.rnd.IntN(2) == 0 {
		in.Action, in.Ports = "remove", nil
		if c.must("unlink addresses", func(ctx context.Context) error { return c.api.Link(ctx, in) }) {
			c.s.ledger.unlink(key)
		}
	}
}

type stackAddress struct{ stack, network, ip string }

// neighbours are two of this client's sandboxes that are in one network, with stacks of their own.
func (c *stormClient) neighbours() (a, b stackAddress, ok bool) {
	var all []stackAddress
	for _, p := range c.sandboxes {
		for network, e := range p.Networks {
			if p.stack == p.ID && e.IPAddress != "" {
				all = append(all, stackAddress{p.ID, network, e.IPAddress})
			}
		}
	}
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.network == b.network {
				return a, b, true
			}
		}
	}
	return a, b, false
}

// giveBack removes all that this client made and still has.
func (c *stormClient) giveBack() {
	defer c.api.Close()
	for len(c.sandboxes) > 0 {
		n := len(c.sandboxes)
		if c.removeNth(n - 1); len(c.sandboxes) == n {
			return
		}
	}
	for len(c.leases) > 0 {
		n := len(c.leases)
		if c.releaseNth(n - 1); len(c.leases) == n {
			return
		}
	}
	if c.n != 0 {
		return
	}
	for _, key := range c.s.ledger.sharedLeases() {
		if c.must("release", func(ctx context.Context) error { return c.api.ReleaseInterface(ctx, key) }) {
			c.s.ledger.release(key)
		}
	}
}
