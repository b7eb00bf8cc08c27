package cni

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/bridged/bridged"
)

// Environment is what the runtime says in CNI_ variables.
type Environment struct {
	Command   string
	Container string // CNI_CONTAINERID
	NetNS     string // the path of the namespace
	Interface string // CNI_IFNAME
	Args      Args
}

// Args are what CNI_ARGS says, a list of KEY=VALUE with semicolons between.
type Args struct {
	IP  netip.Addr
	MAC bridged.MAC
	// Labels are what Kubernetes calls the container, by the keys of container runtimes: "io.kubernetes.pod.name", ….
	Labels map[string]string
}

// podLabels are the keys that Kubernetes' arguments have as labels.
var podLabels = map[string]string{
	"K8S_POD_NAMESPACE":          "io.kubernetes.pod.namespace",
	"K8S_POD_NAME":               "io.kubernetes.pod.name",
	"K8S_POD_UID":                "io.kubernetes.pod.uid",
	"K8S_POD_INFRA_CONTAINER_ID": "", // the container's id once more
}

// The commands.
const (
	commandAdd     = "ADD"
	commandDel     = "DEL"
	commandCheck   = "CHECK"
	commandGC      = "GC"
	commandStatus  = "STATUS"
	commandVersion = "VERSION"
)

// command is what an operation needs.
type command struct {
	name  string
	since Version
	// needs are the variables that must be there.
	needs []string
}

var commands = []command{
	{commandAdd, version031, []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}},
	{commandDel, version031, []string{"CNI_CONTAINERID", "CNI_IFNAME"}},
	{commandCheck, version040, []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}},
	{commandGC, version110, nil},
	{commandStatus, version110, nil},
	{commandVersion, version031, nil},
}

// readEnvironment reads and checks the variables that the command needs.
func readEnvironment(getenv func(string) string) (e Environment, c command, err error) {
	e.Command = getenv("CNI_COMMAND")
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == e.Command })
	switch {
	case e.Command == "":
		return e, c, &Error{CodeEnvironment, "CNI_COMMAND is missing",
			"this is a CNI plugin: container runtimes start it, and cnitool does it by hand; see `bridged cni --help`"}
	case i < 0:
		return e, c, errorf(CodeEnvironment, "CNI_COMMAND %q is unknown: want ADD, DEL, CHECK, GC, STATUS or VERSION", e.Command)
	}
	c = commands[i]
	var missing []string
	for _, name := range c.needs {
		if getenv(name) == "" {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return e, c, errorf(CodeEnvironment, "%s needs %s in the environment", c.name, strings.Join(missing, ", "))
	}
	if c.needs == nil {
		return e, c, nil
	}
	e.Container, e.NetNS, e.Interface = getenv("CNI_CONTAINERID"), getenv("CNI_NETNS"), getenv("CNI_IFNAME")
	if err := e.check(); err != nil || c.name == commandDel {
		return e, c, err
	}
	e.Args, err = parseArgs(getenv("CNI_ARGS"))
	return e, c, err
}

// check holds the names against the specification, whose rules are ours.
func (e Environment) check() error {
	if err := bridged.CheckName("container", e.Container); err != nil {
		return errorf(CodeEnvironment, "CNI_CONTAINERID: %v", err)
	}
	if err := bridged.CheckNewLinkName(e.Interface); err != nil {
		return errorf(CodeEnvironment, "CNI_IFNAME: %v", err)
	}
	return nil
}

// parseArgs reads CNI_ARGS. An unknown key is an error, unless IgnoreUnknown is there and true.
func parseArgs(text string) (Args, error) {
	args := Args{Labels: make(map[string]string)}
	var unknown []string
	ignore := false
	for pair := range strings.SplitSeq(text, ";") {
		key, value, found := strings.Cut(pair, "=")
		var err error
		switch {
		case strings.TrimSpace(pair) == "":
		case !found:
			return args, errorf(CodeEnvironment, "CNI_ARGS has %q: want KEY=VALUE, with ';' between", pair)
		case key == "IgnoreUnknown":
			ignore = value == "1" || strings.EqualFold(value, "true")
		case key == "IP":
			args.IP, err = parseIP(value)
		case key == "MAC":
			args.MAC, err = bridged.ParseMAC(value)
		default:
			switch label, known := podLabels[key]; {
			case !known:
				unknown = append(unknown, key)
			case label != "":
				args.Labels[label] = strings.ToValidUTF8(value, "\uFFFD") // what JSON would make of it on the way
			}
		}
		if err != nil {
			return args, errorf(CodeEnvironment, "CNI_ARGS has %q: %v", pair, err)
		}
	}
	if unknown != nil && !ignore {
		return args, &Error{CodeEnvironment, "CNI_ARGS has unknown keys: " + strings.Join(unknown, ", "),
			"known are IP, MAC and K8S_POD_…; IgnoreUnknown=1 passes over others"}
	}
	return args, nil
}
