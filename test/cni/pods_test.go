package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// Kubernetes' shape: so many pods, by so many callers at a time.
const pods, callers = 200, 32

// podMembers is a configuration with a port for each pod.
func podMembers(i int) string {
	return `"bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]]}, ` +
		fmt.Sprintf(`"runtimeConfig": {"portMappings": [{"hostPort": %d, "containerPort": 80, "protocol": "tcp"}]}`, 20000+i)
}

// podVariables are a pod's.
func podVariables(i int) []string {
	return []string{fmt.Sprintf("CNI_CONTAINERID=c%d", i), fmt.Sprintf("CNI_NETNS=/run/netns/p%d", i), "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=p" + fmt.Sprint(i)}
}

// each does something for each of these pods, by the callers, and again while the daemon is away: a runtime tries again, too.
func (h *host) each(which []int, command string, members func(int) string) []answer {
	answers := make([]answer, pods)
	next := make(chan int)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range next {
				for {
					answers[i] = h.plugin(command, members(i), podVariables(i)...)
					if answers[i].status == 0 || !strings.Contains(answers[i].stdout, `"code":11,`) {
						break
					}
					if r := h.run(nil, "", program, "status", "--wait", "10s"); r.status != 0 {
						h.t.Error(r)
						break
					}
				}
			}
		})
	}
	for _, i := range which {
		next <- i
	}
	close(next)
	wg.Wait()
	return answers
}

// TestPods: 200 pods by 32 callers, half of them go again, a GC, a CHECK of the rest, and the daemon is killed in the middle of all of it: nothing is
// lost, nothing is left.
func TestPods(t *testing.T) {
	h, d := bridgedHost(t)
	var all, gone, rest []int
	var names strings.Builder
	for i := range pods {
		all = append(all, i)
		if i%2 == 0 {
			gone = append(gone, i)
		} else {
			rest = append(rest, i)
		}
		fmt.Fprintf(&names, "netns add p%d\n", i)
	}
	h.space.Input(t, names.String(), "ip", "-batch", "-")

	restarted := func(work func()) {
		var wg sync.WaitGroup
		wg.Go(work)
		d.Kill()
		d = h.daemon()
		wg.Wait()
	}
	var added []answer
	restarted(func() { added = h.each(all, "ADD", podMembers) })
	taken := make(map[string]int)
	for i, a := range added {
		a = h.retried(i, a)
		added[i] = a
		a.works(t)
		var r result
		if err := json.Unmarshal([]byte(a.stdout), &r); err != nil || len(r.IPs) != 2 {
			t.Fatalf("%v: %v", err, a)
		}
		for _, ip := range r.IPs {
			if other, twice := taken[ip.Address]; twice {
				t.Errorf("pods %d and %d have the address %s", other, i, ip.Address)
			}
			taken[ip.Address] = i
		}
	}
	if got := h.counts(); got != [3]int{pods, pods, 2 * pods} {
		t.Errorf("%v sandboxes, endpoints, ports", got)
	}
	restarted(func() {
		for i, a := range h.each(gone, "DEL", podMembers) {
			if i%2 == 0 {
				a.works(t)
			}
		}
	})
	// Of the rest one is not valid any more, and the runtime forgot to say so.
	var valid []string
	for _, i := range rest[1:] {
		valid = append(valid, fmt.Sprintf(`{"containerID": "c%d", "ifname": "eth0"}`, i))
	}
	h.plugin("GC", podMembers(0)+`, "cni.dev/valid-attachments": [`+strings.Join(valid, ", ")+`]`).works(t)
	rest = rest[1:]
	restarted(func() {
		checked := h.each(rest, "CHECK", func(i int) string { return added[i].prev(podMembers(i)) })
		for _, i := range rest {
			checked[i].works(t)
		}
	})
	if got := h.counts(); got != [3]int{len(rest), len(rest), 2 * len(rest)} {
		t.Errorf("%v sandboxes, endpoints, ports of %d pods", got, len(rest))
	}
	h.settled()
	for _, i := range []int{rest[0], rest[len(rest)-1]} {
		pod := h.space.Open(t, fmt.Sprintf("p%d", i), fmt.Sprintf("/run/netns/p%d", i))
		flowtest.Serve(t, pod, 80)
		flowtest.Reaches(t, h.lan, "tcp", netip.AddrPortFrom(hostLAN4, uint16(20000+i)), pod.Name)
	}
	h.plugin("GC", podMembers(0)).works(t)
	h.empty("after a GC of all")
}

// retried is a second ADD of a pod whose first was answered by an error: the daemon was killed between doing it and saying so. A runtime does a DEL
// before it tries again.
func (h *host) retried(i int, a answer) answer {
	h.t.Helper()
	if a.status == 0 {
		return a
	}
	h.plugin("DEL", podMembers(i), podVariables(i)...).works(h.t)
	return h.plugin("ADD", podMembers(i), podVariables(i)...)
}
