package api

import (
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

// The versions of Docker's API whose calls are understood: the one whose shapes are sent, and the oldest that a client
// may ask for.
const (
	dockerAPI    = "1.50"
	dockerAPIMin = "1.24"
)

// checkVersion refuses a path that begins with a version that is not understood.
func checkVersion(path string) error {
	prefix := versionPrefix().FindString(path)
	if prefix == "" {
		return nil
	}
	minor := func(version string) int {
		n, err := strconv.Atoi(strings.TrimPrefix(version, "1."))
		if err != nil {
			return math.MaxInt // more digits than a number has
		}
		return n
	}
	version := strings.Trim(prefix, "/v")
	switch n := minor(version); {
	case n > minor(dockerAPI):
		return bridged.Errorf(bridged.ErrInvalid, "client version %.20s is too new. Maximum supported API version is %s", version, dockerAPI)
	case n < minor(dockerAPIMin):
		return bridged.Errorf(bridged.ErrInvalid, "client version %s is too old. Minimum supported API version is %s, "+
			"please upgrade your client to a newer version", version, dockerAPIMin)
	}
	return nil
}

// setDockerHeaders sets what Docker's client looks at with each answer, above all with that to its ping.
func setDockerHeaders(h http.Header) {
	h.Set("Api-Version", dockerAPI)
	h.Set("Ostype", "linux")
	h.Set("Docker-Experimental", "false")
	h.Set("Swarm", "inactive")
	h.Set("Server", "bridged")
}

func (s *Server) ping(c *call) (any, error) {
	c.W.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	c.W.Header().Set("Pragma", "no-cache")
	return plainText("OK"), nil
}

// engineVersion is the body of Docker's GET /version.
type engineVersion struct {
	Platform      struct{ Name string }
	Version       string
	APIVersion    string `json:"ApiVersion"`
	MinAPIVersion string
	GitCommit     string
	GoVersion     string
	Os            string
	Arch          string
	KernelVersion string
}

func (s *Server) dockerVersion(*call) (any, error) {
	v := engineVersion{
		Version:       s.engine.Status().Version,
		APIVersion:    dockerAPI,
		MinAPIVersion: dockerAPIMin,
		GitCommit:     commit(),
		GoVersion:     runtime.Version(),
		Os:            runtime.GOOS,
		Arch:          runtime.GOARCH,
		KernelVersion: kernelVersion(),
	}
	v.Platform.Name = "bridged"
	return v, nil
}

func (s *Server) version(*call) (any, error) {
	return client.Version{
		Version:    s.engine.Status().Version,
		APIVersion: dockerAPI,
		GoVersion:  runtime.Version(),
		Os:         runtime.GOOS,
		Arch:       runtime.GOARCH,
	}, nil
}

// commit is the commit that the program was built from, "" when that is not known.
func commit() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// kernelVersion is as `uname -r` prints it.
func kernelVersion() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return strings.TrimRight(string(u.Release[:]), "\x00")
}
