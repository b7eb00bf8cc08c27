package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bridged/bridged/bench/report"
)

// pluginDirs are where CNI plugins are installed, by Debian and by the project itself.
var pluginDirs = []string{"/usr/lib/cni", "/opt/cni/bin"}

// cniPeer is the reference chain, as a runtime calls it.
func cniPeer() peer {
	return peer{
		name: report.CNI, what: "the reference plugins, one after the other: bridge (which starts host-local), then portmap (which starts iptables)",
		find:   findCNI,
		attach: func(_ *setting, name string) (attacher, error) { return newCNI(name) },
	}
}

func findCNI(*setting) (string, error) {
	if _, err := exec.LookPath("iptables"); err != nil {
		return "", errors.New("portmap needs iptables, which is not installed (Debian package iptables)")
	}
	plugin, err := findPlugin("portmap")
	if err != nil {
		return "", err
	}
	out, err := exec.Command(plugin, "--version").CombinedOutput()
	version, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if packaged, packageErr := exec.Command("dpkg-query", "-W", "containernetworking-plugins").Output(); packageErr == nil {
		version += ", Debian's " + strings.Join(strings.Fields(string(packaged)), " ")
	}
	return version, err
}

func findPlugin(name string) (string, error) {
	for _, dir := range pluginDirs {
		if path := filepath.Join(dir, name); exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("the CNI plugins are not in %s (Debian package containernetworking-plugins)", strings.Join(pluginDirs, ", "))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// cniAttacher calls the plugins of a chain in a world.
type cniAttacher struct {
	w   *world
	dir string // of the addresses that were given
	// others: the chain of other containers' ports is there.
	others bool
}

// cniBridge is the bridge that the plugin makes.
const cniBridge = "cni0"

func newCNI(name string) (_ *cniAttacher, err error) {
	a := new(cniAttacher)
	if a.w, err = newWorld(name); err != nil {
		return nil, err
	}
	if a.dir, err = tempDir("cni"); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *cniAttacher) attach(c *container, ports []uint16) ([]step, error) {
	var result json.RawMessage
	return []step{
		{"bridge", func() (err error) {
			result, err = a.call("ADD", "bridge", c, nil, nil)
			return err
		}},
		{"portmap", func() error {
			_, err := a.call("ADD", "portmap", c, ports, result)
			return err
		}},
	}, nil
}

func (a *cniAttacher) detach(c *container, ports []uint16) ([]step, error) {
	return []step{
		{"portmap", func() error { _, err := a.call("DEL", "portmap", c, ports, nil); return err }},
		{"bridge", func() error { _, err := a.call("DEL", "bridge", c, nil, nil); return err }},
	}, nil
}

// publish is for the ports that others on the host have: as many rules as portmap would make for them, in one chain. A process a container would
// take minutes.
func (a *cniAttacher) publish(ports []uint16) op {
	var b strings.Builder
	b.WriteString("*nat\n")
	if !a.others { // naming a chain that is there would empty it
		b.WriteString(":OTHERS -\n-A PREROUTING -m addrtype --dst-type LOCAL -j OTHERS\n")
	}
	for _, port := range ports {
		fmt.Fprintf(&b, "-A OTHERS -p tcp --dport %d -j DNAT --to-destination %s:%[1]d\n", port, insideAddr.Addr())
	}
	b.WriteString("COMMIT\n")
	return func() error {
		a.others = true
		_, err := a.w.host.exec(b.String(), "iptables-restore", "--noflush")
		return err
	}
}

// call starts a plugin of the chain: its configuration is on standard input, its result on standard output.
func (a *cniAttacher) call(command, plugin string, c *container, ports []uint16, previous json.RawMessage) (json.RawMessage, error) {
	path, err := findPlugin(plugin)
	if err != nil {
		return nil, err
	}
	conf, err := json.Marshal(a.configuration(plugin, ports, previous))
	if err != nil {
		return nil, err
	}
	out, err := a.w.host.execEnv([]string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + c.name, "CNI_NETNS=" + c.path(), "CNI_IFNAME=eth0", "CNI_PATH=" + filepath.Dir(path),
	}, string(conf), path)
	return json.RawMessage(out), err
}

func (a *cniAttacher) configuration(plugin string, ports []uint16, previous json.RawMessage) map[string]any {
	conf := map[string]any{"cniVersion": "1.0.0", "name": "bench", "type": plugin}
	if previous != nil {
		conf["prevResult"] = previous
	}
	if plugin == "bridge" {
		conf["bridge"], conf["isGateway"], conf["isDefaultGateway"], conf["ipMasq"], conf["hairpinMode"] = cniBridge, true, true, true, true
		conf["ipam"] = map[string]any{
			"type": "host-local", "dataDir": a.dir, "ranges": [][]map[string]string{{{"subnet": bridgeAddr.Masked().String()}}},
		}
		return conf
	}
	mappings := make([]map[string]any, len(ports))
	for i, port := range ports {
		mappings[i] = map[string]any{"hostPort": port, "containerPort": port, "protocol": "tcp"}
	}
	conf["capabilities"] = map[string]bool{"portMappings": true}
	conf["runtimeConfig"] = map[string]any{"portMappings": mappings}
	return conf
}

// held reads the rules of the chain as iptables-save prints them.
func (a *cniAttacher) held() (translations, error) {
	out, err := a.w.host.exec("", "iptables-save", "-t", "nat")
	if err != nil {
		return nil, err
	}
	return savedTranslations(out)
}

func (a *cniAttacher) world() *world { return a.w }

func (a *cniAttacher) close() error { return errors.Join(os.RemoveAll(a.dir), a.w.close()) }
