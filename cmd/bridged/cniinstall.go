package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/cni"
)

// cniFlags are the flags of `cni install`.
type cniFlags struct {
	binDir, confDir string
	name, bridge    string
	subnets         []netip.Prefix
	force           bool
}

// cniConfigFile is the name of the configuration list: runtimes take the first by name.
const cniConfigFile = "10-bridged.conflist"

// defaultCNISubnet is the subnet of the network when none is given.
var defaultCNISubnet = netip.MustParsePrefix("10.88.0.0/16")

func cniInstallCommand(a *app) *cobra.Command {
	var f cniFlags
	cmd := &cobra.Command{
		Use:   "install [flags]",
		Short: "Write plugin and configuration list to where container runtimes look",
		Long: `Write this binary as bridged-cni, and a configuration list of one network, to where container runtimes look, and print the paths
of both. Each file is written beside its place and renamed, which runtimes that watch the directory notice. A configuration list that is there and
differs is kept, with a warning; --force replaces it.`,
		Example: `  bridged cni install
  bridged cni install --subnet 10.88.0.0/16 --subnet fd00:88::/64 --network podnet
  bridged cni install --bin-dir /usr/libexec/cni --conf-dir /etc/cni/net.d --force`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.cniInstall(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.binDir, "bin-dir", "/opt/cni/bin", "directory of the runtime's plugins")
	flags.StringVar(&f.confDir, "conf-dir", "/etc/cni/net.d", "directory of the runtime's configuration lists")
	flags.StringVar(&f.name, "network", "bridged", "name of the network")
	flags.StringVar(&f.bridge, "bridge", "cni0", "interface name of its bridge")
	many(flags, &f.subnets, "subnet", "", "CIDR", parseSubnet, "subnet, one a family (default "+defaultCNISubnet.String()+")")
	flags.BoolVar(&f.force, "force", false, "replace a configuration list that differs")
	return cmd
}

func (a *app) cniInstall(cmd *cobra.Command, f cniFlags) error {
	config, err := f.configList(a.host)
	if err != nil {
		return usage(cmd, "%w", err)
	}
	binary, list := filepath.Join(f.binDir, pluginName), filepath.Join(f.confDir, cniConfigFile)
	for _, dir := range []string{f.binDir, f.confDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fileError(err)
		}
	}
	if err := installSelf(binary); err != nil { // first: a runtime that sees the list starts the plugin
		return fileError(err)
	}
	kept, err := installConfig(list, config, f.force)
	if err != nil {
		return fileError(err)
	}
	if kept {
		a.warn(list + " is there and differs: it is kept; --force replaces it")
	}
	if first, err := firstConfig(f.confDir); err == nil && first < cniConfigFile {
		a.warn(filepath.Join(f.confDir, first) + " is there too and comes first by its name: runtimes use it for containers that name no network")
	}
	_, err = fmt.Fprintln(a.stdout, binary+"\n"+list)
	return err
}

// firstConfig is the configuration that runtimes find first in a directory.
func firstConfig(dir string) (string, error) {
	entries, err := os.ReadDir(dir) // sorted
	for _, e := range entries {
		if slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) {
			return e.Name(), err
		}
	}
	return "", errors.Join(err, fs.ErrNotExist)
}

// fileError gives an error of the file system its kind.
func fileError(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return bridged.Errorf(bridged.ErrDenied, "cannot install: %w", err)
	}
	return fmt.Errorf("cannot install: %w", err)
}

// installSelf writes this binary to path.
func installSelf(path string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	t, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o755), renameio.IgnoreUmask())
	if err != nil {
		return err
	}
	defer t.Cleanup()
	if _, err := io.Copy(t, self); err != nil {
		return err
	}
	return t.CloseAtomicallyReplace()
}

// installConfig writes a configuration list to path. One that is there is kept, unless force; kept reports whether it differs.
func installConfig(path string, text []byte, force bool) (kept bool, err error) {
	there, err := os.ReadFile(path)
	if err == nil && !force {
		return string(there) != string(text), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return false, renameio.WriteFile(path, text, 0o644, renameio.WithTempDir(filepath.Dir(path)), renameio.IgnoreUmask())
}

// configList is the text of the configuration list: one plugin, which is the whole chain.
func (f cniFlags) configList(host string) ([]byte, error) {
	subnets := f.subnets
	if len(subnets) == 0 {
		subnets = []netip.Prefix{defaultCNISubnet}
	}
	plugin := cniPlugin{
		Type: pluginName, Bridge: f.bridge, IsDefaultGateway: true, IPMasq: true, HairpinMode: true, IPAM: cniIPAM{Type: "bridged"},
		Capabilities: map[string]bool{"portMappings": true, "bandwidth": true, "ips": true, "mac": true, "dns": true},
	}
	for _, s := range subnets {
		plugin.IPAM.Ranges = append(plugin.IPAM.Ranges, []cniRange{{s}})
	}
	if host != client.DefaultHost {
		path, err := client.SocketPath(host)
		if err != nil {
			return nil, err
		}
		plugin.Socket = path
	}
	text, err := json.MarshalIndent(cniList{"1.0.0", []string{"1.0.0", "1.1.0"}, f.name, []cniPlugin{plugin}}, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), cni.CheckList(text)
}

// The JSON of a configuration list, as far as it is written here.
type (
	cniList struct {
		CNIVersion string `json:"cniVersion"`
		// CNIVersions are for runtimes that know several and take the newest; the others read CNIVersion.
		CNIVersions []string    `json:"cniVersions"`
		Name        string      `json:"name"`
		Plugins     []cniPlugin `json:"plugins"`
	}
	cniPlugin struct {
		Type             string          `json:"type"`
		Socket           string          `json:"socket,omitempty"`
		Bridge           string          `json:"bridge"`
		IsDefaultGateway bool            `json:"isDefaultGateway"`
		IPMasq           bool            `json:"ipMasq"`
		HairpinMode      bool            `json:"hairpinMode"`
		Capabilities     map[string]bool `json:"capabilities"`
		IPAM             cniIPAM         `json:"ipam"`
	}
	cniIPAM struct {
		Type   string       `json:"type"`
		Ranges [][]cniRange `json:"ranges"`
	}
	cniRange struct {
		Subnet netip.Prefix `json:"subnet"`
	}
)
