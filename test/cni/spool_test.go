package cni

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestRemembered: a DEL without a daemon is done by the next one.
func TestRemembered(t *testing.T) {
	h, d := bridgedHost(t)
	h.pod("p1")
	h.plugin("ADD", withPorts).works(t)
	d.Kill()
	for range 2 {
		h.plugin("DEL", withPorts).works(t)
	}
	h.plugin("DEL", members, "CNI_CONTAINERID=unheard").works(t)
	h.daemon()
	h.plugin("STATUS", members).works(t)
	h.empty("after the DEL without a daemon")
	h.do(func() error {
		left, err := filepath.Glob("/run/bridged/detach/*")
		if len(left) > 0 {
			err = fmt.Errorf("%v are left", left)
		}
		return err
	})
	h.plugin("ADD", withPorts).works(t)
}

// TestRememberedBefore: a DEL that was remembered takes what was there then, not what the same container got afterwards.
func TestRememberedBefore(t *testing.T) {
	h, d := bridgedHost(t)
	h.pod("p1")
	made := h.plugin("ADD", withPorts)
	made.works(t)
	for _, age := range []time.Duration{time.Hour, -time.Minute} {
		d.Kill()
		when := time.Now().Add(-age)
		h.do(func() error {
			const file = "/run/bridged/detach/x.json"
			return errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(`{"Network": "podnet", "Container": "c1", "Interface": "eth0"}`), 0o600),
				os.Chtimes(file, when, when))
		})
		d = h.daemon()
		if age > 0 {
			h.plugin("CHECK", made.prev(withPorts)).works(t)
		} else {
			h.empty("after a DEL that came later")
		}
	}
}
