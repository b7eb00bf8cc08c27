package engine

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/internal/sysctl"
)

// sweepEvery is how often the engine looks for what the kernel tells nobody: parameters under /proc/sys that somebody reset, and namespaces
// without a link that died.
const sweepEvery = 10 * time.Second

// sweeps runs until ctx is done.
func (e *Engine) sweeps(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			e.sweep()
		case <-ctx.Done():
			return nil
		}
	}
}

// watched is what a sweep looks at.
type watched struct {
	sysctls map[string][]forwarding.Sysctl // by the bridge's name
	spaces  map[string]location            // by the sandbox's id
}

// location is where a namespace should be.
type location struct {
	path string
	id   bridged.NamespaceID
}

// drift is what a sweep finds: bridges whose parameters are not as wanted, and sandboxes whose path leads to no namespace or another one.
type drift struct {
	bridges []string
	lost    []string // ids of sandboxes
	// bridgeFilter: br_netfilter is on.
	bridgeFilter bool
}

// sweep looks once, and has repaired or collected what it finds.
func (e *Engine) sweep() {
	e.uncompacted.Store(false)
	if e.doubtful.Swap(false) {
		e.repairs.add(struct{}{})
	}
	w := watched{sysctls: make(map[string][]forwarding.Sysctl), spaces: make(map[string]location)}
	e.mu.Lock()
	for name, id := range e.index.bridges {
		w.sysctls[name] = forwarding.Sysctls(e.index.Networks[id])
	}
	for id, s := range e.index.Sandboxes {
		if s.Settled && s.Shares == "" && s.NSID != (bridged.NamespaceID{}) {
			w.spaces[id] = location{s.NetNS, s.NSID}
		}
	}
	e.mu.Unlock()
	d := e.host.drift(w)
	e.mu.Lock()
	e.lacks.bridgeFilter = d.bridgeFilter
	e.mu.Unlock()
	for _, name := range d.bridges {
		e.suspect(suspicion{link: name})
	}
	for _, s := range e.dueAgain() {
		e.suspect(s)
	}
	e.lost.add(d.lost...)
}

func (m *machine) drift(w watched) (d drift) {
	for id, p := range w.spaces {
		var st unix.Stat_t
		if err := unix.Stat(p.path, &st); err != nil || st.Dev != p.id.Dev || st.Ino != p.id.Ino {
			d.lost = append(d.lost, id)
		}
	}
	err := m.ns.Do(func() error {
		for name, wanted := range w.sysctls {
			for _, s := range wanted {
				// One that can't be read went with its bridge, which the kernel tells.
				if v, err := sysctl.Get(s.Path); err == nil && v != s.Value {
					d.bridges = append(d.bridges, name)
					break
				}
			}
		}
		d.bridgeFilter = bridgeFilterNow()
		return nil
	})
	if err != nil {
		m.log.Warn("cannot look at the kernel's parameters", "error", err)
	}
	return d
}
