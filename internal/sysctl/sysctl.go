// Package sysctl reads and writes kernel parameters, of the calling thread's network namespace where they have one.
package sysctl

import "errors"

// Get is the value at path, as "net/ipv4/ip_forward", without the final newline.
func Get(path string) (string, error) { return "", errors.ErrUnsupported }

// Set makes the value at path value; it writes only when it is another.
func Set(path, value string) error { return errors.ErrUnsupported }
