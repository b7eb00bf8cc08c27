package cni

import (
	"slices"
	"strings"
)

// Version is a version of the specification, as "1.0.0".
type Version string

// The versions that change something here.
const (
	version031 Version = "0.3.1"
	version040 Version = "0.4.0" // CHECK
	version100 Version = "1.0.0" // no version in an address of a result
	version110 Version = "1.1.0" // GC, STATUS; MTU and more of an interface and of a route in a result
)

// versions are those that the plugin speaks, in order.
var versions = []Version{version031, version040, version100, version110}

// has reports whether v is since or a later one. Both are in versions.
func (v Version) has(since Version) bool {
	return slices.Index(versions, v) >= slices.Index(versions, since)
}

// check says whether the plugin speaks v.
func (v Version) check() error {
	if slices.Contains(versions, v) {
		return nil
	}
	texts := make([]string, len(versions))
	for i, known := range versions {
		texts[i] = string(known)
	}
	if v == "" {
		return errorf(CodeVersion, "cniVersion is missing: want one of %s", strings.Join(texts, ", "))
	}
	return errorf(CodeVersion, "cniVersion %q is not supported: want one of %s", v, strings.Join(texts, ", "))
}

// versionResult is the answer to VERSION.
type versionResult struct {
	CNIVersion Version   `json:"cniVersion"`
	Supported  []Version `json:"supportedVersions"`
}
