package api

import (
	"os"
	"runtime"
	"time"

	"github.com/bridged/bridged"
)

// engineInfo is the body of Docker's GET /info, as far as it is about what there is here. Docker's client asks for it by the way, as when it
// looks for an object of any kind.
type engineInfo struct {
	Name              string // the host's
	ServerVersion     string
	Containers        int
	ContainersRunning int
	ContainersPaused  int
	ContainersStopped int
	Images            int
	Driver            string // of images: there is none
	Plugins           struct{ Volume, Network, Log []string }
	SystemTime        time.Time
	KernelVersion     string
	OSType            string
	Architecture      string
	NCPU              int
	Swarm             struct{ LocalNodeState string }
	Warnings          []string
}

func (s *Server) dockerInfo(*call) (any, error) {
	status := s.engine.Status()
	name, _ := os.Hostname() // "" is an answer, too
	info := engineInfo{
		Name:              name,
		ServerVersion:     status.Version,
		Containers:        status.Sandboxes,
		ContainersRunning: status.Sandboxes,
		SystemTime:        time.Now(),
		KernelVersion:     kernelVersion(),
		OSType:            "linux",
		Architecture:      runtime.GOARCH,
		NCPU:              runtime.NumCPU(),
		Warnings:          notNil(status.Warnings),
	}
	info.Plugins.Volume, info.Plugins.Log = []string{}, []string{}
	info.Plugins.Network = []string{string(bridged.DriverBridge), string(bridged.DriverHost), string(bridged.DriverNull)}
	info.Swarm.LocalNodeState = "inactive"
	return info, nil
}
