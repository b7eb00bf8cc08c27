package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// unit is a unit file: of each key all values.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../packaging", name))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			all[key] = append(all[key], value)
		}
	}
	return all
}

// The units give a daemon what it needs: with no more than their capabilities, and no new ones, it works and has nothing to warn of.
func TestUnits(t *testing.T) {
	need(t, "setpriv")
	service, socket := unit(t, "bridged.service"), unit(t, "bridged.socket")
	w := newWorld(t)
	m := w.manager()
	if l := socket["ListenStream"]; len(l) != 1 || l[0] != m.path || socket["SocketMode"][0] != "0660" || socket["SocketGroup"][0] != "bridged" {
		t.Errorf("the socket: %v", socket)
	}
	if plugin := unit(t, "bridged-docker.socket"); plugin["ListenStream"][0] != "/run/docker/plugins/bridged.sock" || plugin["SocketMode"][0] != "0600" || plugin["DirectoryMode"][0] != "0700" ||
		plugin["FileDescriptorName"][0] != "docker-plugin" || plugin["Service"][0] != "bridged.service" || plugin["Before"][0] != "docker.service" {
		t.Errorf("the plugin's socket: %v", plugin)
	}
	command := strings.Fields(service["ExecStart"][0])
	if len(command) != 4 || command[1] != "daemon" || command[2] != "--config" {
		t.Fatalf("the service runs %q", command)
	}
	config, err := filepath.Abs(filepath.Join("../packaging", filepath.Base(command[3])))
	if err != nil {
		t.Fatal(err)
	}
	capabilities := strings.ReplaceAll(strings.ToLower(service["CapabilityBoundingSet"][0]), "cap_", "+")
	script := fmt.Sprintf("#!/bin/sh\nexec %s --no-new-privs --bounding-set -all,%s %s \"$@\"\n",
		mustFind(t, "setpriv"), strings.Join(strings.Fields(capabilities), ","), program)
	m.program = filepath.Join(t.TempDir(), "bridged")
	if err := os.WriteFile(m.program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	d := m.start("--config", config)
	restricted(t, d.Cmd.Process.Pid)
	if warnings := decode[statusJSON](w, "status", "--json").Warnings; len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
	w.create("-p", "80:80", "c1")
	w.bridged("sandbox", "rm", "c1")

	// What gives a service mounts of its own would hide the namespaces that the daemon makes.
	for _, key := range []string{"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts", "ProtectKernelTunables", "ProtectKernelModules",
		"ProtectKernelLogs", "ProtectControlGroups", "ProtectProc", "ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths", "TemporaryFileSystem",
		"BindPaths", "RootDirectory", "MountFlags", "PrivateNetwork", "PrivateUsers"} {
		if service[key] != nil {
			t.Errorf("the service has %s=%s", key, service[key])
		}
	}
}

func mustFind(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
