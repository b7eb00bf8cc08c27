package cni

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

// statusPatience is how long the daemon may take for a STATUS, which runtimes ask every few seconds.
const statusPatience = 5 * time.Second

// status says whether an ADD would find a daemon that is ready. When it would not, the containers that are there go on as they are: what they
// need is in the kernel. Only where that was taken away meanwhile are they degraded.
func status(ctx context.Context, c *client.Client, config Config) error {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	s, err := c.Status(ctx)
	var why string
	switch {
	case err == nil && s.Ready:
		return nil
	case err == nil:
		why = "the daemon is not ready yet"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, bridged.ErrUnavailable):
		why = err.Error()
	default:
		return err
	}
	if damage := config.damage(); damage != "" {
		return &Error{CodeDegraded, why, damage}
	}
	return &Error{CodeUnavailable, why, "running containers keep their network"}
}

// damage is what can be seen without the daemon that containers of this network suffer from; "" for nothing.
func (c *Config) damage() string {
	bridge, err := net.InterfaceByName(c.Bridge)
	switch {
	case err != nil: // no container is there
		return ""
	case bridge.Flags&net.FlagUp == 0:
		return "the bridge " + c.Bridge + " is down: its containers reach nobody"
	case !c.IsGateway:
		return ""
	}
	for _, set := range c.sets() {
		file := "/proc/sys/net/ipv4/ip_forward"
		if len(set.value) > 0 && set.value[0].value.Subnet.prefix().Addr().Is6() {
			file = "/proc/sys/net/ipv6/conf/all/forwarding"
		}
		if value, err := os.ReadFile(file); err == nil && bytes.Equal(bytes.TrimSpace(value), []byte("0")) {
			return "the host does not forward (" + file + " is 0): containers on " + c.Bridge + " reach nothing beyond it"
		}
	}
	return ""
}
