package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

// Plugin is one run of the plugin.
type Plugin struct {
	// Getenv gives a variable of the environment, "" for none.
	Getenv func(string) string
	// Stdin is the configuration, Stdout takes the result or the error, Stderr warnings.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// maxConfig is how much is read of a configuration, in bytes. A GC's may have a hundred bytes for each attachment.
const maxConfig = 64 << 20

// patience is how long the daemon may take: less than the minutes after which runtimes give up and kill the plugin, which says nothing then.
const patience = time.Minute

// Run does what the environment says, and returns the exit status: 0, or 1 when an [Error] was printed.
func (p Plugin) Run(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, version, err := p.run(ctx)
	if err != nil {
		e := asError(err)
		answer = struct {
			CNIVersion Version `json:"cniVersion"`
			Code       Code    `json:"code"`
			Msg        string  `json:"msg"`
			Details    string  `json:"details,omitempty"`
		}{version, e.Code, e.Msg, e.Details}
	}
	if answer != nil {
		out := json.NewEncoder(p.Stdout)
		out.SetEscapeHTML(false)
		if wrong := out.Encode(answer); wrong != nil {
			fmt.Fprintf(p.Stderr, "bridged-cni: cannot write the answer: %v\n", wrong)
			return 1
		}
	}
	if err != nil {
		return 1
	}
	return 0
}

// run does it, and returns what is to be printed, nil for nothing, and the version that it is printed in.
func (p Plugin) run(ctx context.Context) (answer any, version Version, err error) {
	newest := versions[len(versions)-1]
	env, command, err := readEnvironment(p.Getenv)
	if err != nil {
		return nil, newest, err
	}
	if command.name == commandVersion {
		return versionResult{newest, versions}, newest, nil
	}
	text, err := io.ReadAll(io.LimitReader(p.Stdin, maxConfig))
	if err != nil {
		return nil, newest, errorf(CodeIO, "cannot read the configuration from standard input: %v", err)
	}
	identity, err := parseIdentity(text)
	if wrong := identity.Version.check(); wrong != nil && (err == nil || identity.Version != "") {
		return nil, newest, wrong
	}
	switch {
	case err != nil:
		return nil, newest, err
	case !identity.Version.has(command.since):
		return nil, identity.Version, errorf(CodeVersion, "cniVersion %s has no %s: it is there since %s", identity.Version, command.name, command.since)
	}
	answer, err = p.do(ctx, env, identity, text)
	return answer, identity.Version, err
}

// do does one command but VERSION.
func (p Plugin) do(ctx context.Context, env Environment, identity Config, text []byte) (any, error) {
	host := identity.host(p.Getenv)
	c, err := client.Dial(host)
	if err != nil {
		return nil, errorf(CodeInvalid, "socket: %v", err)
	}
	defer c.Close()
	switch env.Command {
	case commandDel:
		return nil, del(ctx, c, host, bridged.AttachmentKey{Network: identity.Name, Container: env.Container, Interface: env.Interface})
	case commandGC:
		return nil, collect(ctx, c, identity)
	}
	config, err := ParseConfig(text)
	if err != nil {
		return nil, err
	}
	spec, err := config.Attachment(env)
	if err != nil {
		return nil, err
	}
	switch env.Command {
	case commandAdd:
		return p.add(ctx, c, config, spec)
	case commandCheck:
		return nil, check(ctx, c, config, spec, env)
	}
	return nil, status(ctx, c, config)
}

// host is where the daemon is.
func (c *Config) host(getenv func(string) string) string {
	if c.Socket != "" {
		return "unix://" + c.Socket
	}
	if host := getenv("BRIDGED_HOST"); host != "" {
		return host
	}
	return client.DefaultHost
}

// add attaches a container.
func (p Plugin) add(ctx context.Context, c *client.Client, config Config, spec bridged.AttachmentSpec) (any, error) {
	prev, err := config.parsePrevious()
	if err != nil {
		return nil, err
	}
	dns, err := config.resolver()
	if err != nil {
		return nil, err
	}
	if err := checkNamespace(spec.NetNS); err != nil {
		return nil, err
	}
	a, err := c.Attach(ctx, spec)
	if errors.Is(err, bridged.ErrNotFound) {
		return nil, errorf(CodeNamespace, "CNI_NETNS: %v", err)
	}
	if err != nil {
		return nil, err
	}
	for _, w := range a.Warnings {
		fmt.Fprintf(p.Stderr, "bridged-cni: warning: %s\n", w)
	}
	if spec.Network.IPv4.Valid() && spec.Network.IPv6.Valid() && config.ipv6First() {
		slices.Reverse(a.IPs)
		slices.Reverse(a.Routes[len(spec.Inside.Routes):]) // the default routes that were added
	}
	return newResult(config.Version, prev, a, dns), nil
}

// check compares an attachment with what it must be, the addresses of the result that the runtime kept among it.
func check(ctx context.Context, c *client.Client, config Config, spec bridged.AttachmentSpec, env Environment) error {
	if len(config.PrevResult) == 0 {
		return errorf(CodeInvalid, "prevResult is missing: a CHECK compares with what the ADD returned")
	}
	prev, err := config.parsePrevious()
	if err != nil {
		return err
	}
	if err := checkNamespace(spec.NetNS); err != nil {
		return err
	}
	spec.IPs = given(spec, prev.addressesOf(env))
	err = c.CheckAttachment(ctx, spec)
	if errors.Is(err, bridged.ErrNotFound) {
		if gone := checkNamespace(spec.NetNS); gone != nil {
			return gone
		}
	}
	return err
}

// given are those of an interface's addresses that are of the network's subnets; others are of plugins after ours. Where there are several
// of a family nobody can say which one we gave.
func given(spec bridged.AttachmentSpec, has []netip.Addr) (all []netip.Addr) {
	for _, subnet := range []bridged.Subnet{spec.Network.IPv4, spec.Network.IPv6} {
		of := slices.DeleteFunc(slices.Clone(has), func(ip netip.Addr) bool { return !subnet.Prefix.Contains(ip) })
		if len(of) == 1 {
			all = append(all, of[0])
		}
	}
	return all
}

// checkNamespace says whether path is a namespace that a container can have.
func checkNamespace(path string) error {
	var s syscall.Statfs_t
	const nsfs = 0x6e736673 // NSFS_MAGIC of linux/magic.h
	switch err := syscall.Statfs(path, &s); {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{CodeNamespace, "CNI_NETNS " + path + " does not exist", "the container has ended, or its runtime names another namespace"}
	case err != nil:
		return errorf(CodeNamespace, "CNI_NETNS %s: %v", path, err)
	case s.Type != nsfs:
		return errorf(CodeNamespace, "CNI_NETNS %s is no namespace", path)
	}
	theirs, err := os.Stat(path)
	if err != nil {
		return errorf(CodeNamespace, "CNI_NETNS: %v", err)
	}
	if ours, err := os.Stat("/proc/self/ns/net"); err == nil && os.SameFile(theirs, ours) {
		return errorf(CodeNamespace, "CNI_NETNS %s is the host's own namespace", path)
	}
	return nil
}

// collect takes away what is left of the network and is not valid.
func collect(ctx context.Context, c *client.Client, identity Config) error {
	keys := make([]bridged.AttachmentKey, len(identity.Valid))
	for i, v := range identity.Valid {
		keys[i] = bridged.AttachmentKey{Network: identity.Name, Container: v.ContainerID, Interface: v.Interface}
	}
	_, err := c.CollectAttachments(ctx, identity.Name, keys)
	return err
}
