package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bridged/bridged"
)

// flagsOf are the daemon's flags as a command line and a file give them.
func flagsOf(t *testing.T, file string, args ...string) (*daemonFlags, *cobra.Command, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	f, cmd := new(daemonFlags), &cobra.Command{Use: "daemon"}
	f.add(cmd)
	cmd.Flags().String("host", "", "")
	if err := cmd.ParseFlags(append(args, "--config", path)); err != nil {
		t.Fatal(err)
	}
	err := f.read(cmd)
	if err != nil {
		err = errorIn(err, path)
	}
	f.file = ""
	return f, cmd, err
}

// errorIn has a name for the file that is the same in every run.
func errorIn(err error, path string) error {
	return bridged.FromCode(bridged.Code(err), strings.ReplaceAll(err.Error(), path, "FILE"))
}

// A file says the same as flags do.
func TestConfigFile(t *testing.T) {
	for _, tt := range []struct{ file, flags, with string }{
		{"", "", ""},
		{"# nothing\n", "", ""},
		{"icc = false", "--icc=false", ""},
		{"mtu = 1400\nip = '192.0.2.1' # ours", "--mtu 1400 --ip 192.0.2.1", ""},
		{"mtu = \"1400\"", "--mtu 1400", ""},
		{"mtu = 0x5_78", "--mtu 1400", ""},
		{"bridge = 'br0'\nbip6 = \"fd00:1::1/64\"", "-b br0 --bip6 fd00:1::1/64", ""},
		{"default-address-pool = [\n 'base=10.64.0.0/10,size=24',\n 'base=10.0.0.0/16,size=24',\n]",
			"--default-address-pool base=10.64.0.0/10,size=24 --default-address-pool base=10.0.0.0/16,size=24", ""},
		{"log-level = 'debug'\nlog-format = 'json'\nprotection = 'monitor'", "--log-level debug --log-format json --protection monitor", ""},
		{"iptables = false", "--iptables=false", ""},
		{"firewall = false", "--firewall=false", ""},
		{"'icc' = false", "--icc=false", ""},
		// An empty text is the default.
		{"mtu = ''\nbip = ''\nbridge = ''\nlog-level = ''\nicc = ''\ndefault-address-pool = ''", "", ""},
		// The command line wins.
		{"mtu = 1400\nicc = false", "--mtu 1300 --icc=false", "--mtu 1300"},
		{"icc = false", "--icc=true", "--icc"},
		{"bridge = 'br0'", "-b br1", "-b br1"},
		{"iptables = false", "--firewall=true", "--firewall"},
		{"default-address-pool = ['base=10.64.0.0/10,size=24']", "--default-address-pool base=10.0.0.0/16,size=24", "--default-address-pool base=10.0.0.0/16,size=24"},
	} {
		got, _, err := flagsOf(t, tt.file, strings.Fields(tt.with)...)
		if err != nil {
			t.Errorf("%q with %q: %v", tt.file, tt.with, err)
			continue
		}
		if want, _, _ := flagsOf(t, "", strings.Fields(tt.flags)...); !reflect.DeepEqual(got, want) {
			t.Errorf("%q with %q:\n%+v, want\n%+v", tt.file, tt.with, got, want)
		}
	}
}

// What can't be names the file, the line, the key, the value, and what was expected.
func TestConfigFileErrors(t *testing.T) {
	for _, tt := range []struct{ file, flags, want string }{
		{"icc = true\n\nbrige = 'br0'\n", "", "FILE:3: unknown key \"brige\": the keys are the flags of `bridged daemon`, without the dashes"},
		{"config = 'other'", "", "FILE:1: unknown key \"config\""},
		{"host = 'unix:///s'", "", "FILE:1: unknown key \"host\""},
		{"help = true", "", "FILE:1: unknown key \"help\""},
		{"b = 'br0'", "", "FILE:1: unknown key \"b\""},
		{"[network]\nicc = true", "", "FILE:1: unknown key \"network\""},
		{"[icc]\nx = true", "", "FILE:1: icc: want true or false"},
		{"icc.x = true", "", "FILE:1: unknown key \"icc.x\""},
		{"icc = {x = true}", "", "FILE:1: icc = {x = true}: want true or false"},
		{"\n\nmtu = 67", "", `FILE:3: mtu = "67": want a number of bytes from 68 to 65535`},
		{"mtu = 1400.5", "", "FILE:1: mtu = 1400.5: want a number"},
		{"mtu = 9223372036854775808", "", "FILE:1: mtu = 9223372036854775808: want a number"},
		{"mtu = [1400]", "", "FILE:1: mtu = [1400]: want a number"},
		{"bip = '10.0.0.1'", "", `FILE:1: bip = "10.0.0.1": want an address and a prefix length, as in 172.17.42.1/16`},
		{"bip = 10", "", `FILE:1: bip = 10: want a text, as in "…"`},
		{"socket = true", "", `FILE:1: socket = true: want a text, as in "…"`},
		{"icc = 'yes'", "", `FILE:1: icc = 'yes': want true or false`},
		{"icc = 1", "", `FILE:1: icc = 1: want true or false`},
		{"log-level = 'loud'", "", `FILE:1: log-level = "loud": want one of debug, info, warn, error`},
		{"default-address-pool = 'base=10.64.0.0/10,size=24'", "", `want a list of texts, as in ["…", "…"]`},
		{"default-address-pool = [\n 'base=10.64.0.0/10,size=24', # ours\n 1]", "", `FILE:1: default-address-pool = [ 'base=10.64.0.0/10,size=24', # ours 1]: want`},
		{"default-address-pool = [1]", "", `want a list of texts, as in ["…", "…"]`},
		{"default-address-pool = ['base=10.64.0.0/10,size=24', 'base=10.0.0.0/8']", "", `FILE:1: default-address-pool = "base=10.0.0.0/8": size is missing`},
		// All of them, not just the first.
		{"mtu = 67\nicc = 3\nx = 1", "", "FILE:3: unknown key \"x\""},
		{"mtu = 67\nicc = 3\nx = 1", "", "FILE:1: mtu"},
		// What the command line wins over can't be anything either.
		{"icc = 1", "--icc", "FILE:1: icc = 1"},
		{"icc = true\nicc = true", "", "FILE:2:1: cannot be read as TOML, a line KEY = VALUE each: icc is in line 1, too"},
		{"[icc]\n[icc]", "", "FILE:2:2: cannot be read as TOML"},
		{"icc: true", "", "FILE:1:4: cannot be read as TOML"},
		{"icc = true\nmtu = \"14", "", "FILE:2:"},
		{"icc = tru", "", "FILE:1:"},
		{"\xff = 1", "", "FILE:1:1: cannot be read as TOML"},
		// Flags that can't be together.
		{"ipv6 = true\nbip = '10.0.0.1/24'", "-b br0", "Please specify only one. (bip = '10.0.0.1/24' is in FILE:2)"},
		{"bridge = 'br0'\nbip = '10.0.0.1/24'", "", "Please specify only one. (bridge = 'br0' is in FILE:1, bip = '10.0.0.1/24' is in FILE:2)"},
		{"iptables = false\nicc = false", "", "(iptables = false is in FILE:1, icc = false is in FILE:2)"},
		{"iptables = false\nfirewall = false", "", "--iptables and --firewall are two names of the same flag: use one of them (iptables = false is in FILE:1"},
		{"run-dir = 'run'", "", `--run-dir "run": want an absolute path (run-dir = 'run' is in FILE:1)`},
		{"mtu = 1279", "--ipv6", "--mtu 1279 is too small for IPv6: want 1280 or more (mtu = 1279 is in FILE:1)"},
	} {
		_, _, err := flagsOf(t, tt.file, strings.Fields(tt.flags)...)
		if exitStatus(err) != 2 || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q with %q: %v, want %q", tt.file, tt.flags, err, tt.want)
		}
	}
	f := daemonFlags{}
	cmd := &cobra.Command{}
	f.add(cmd)
	if err := cmd.ParseFlags([]string{"--config", "/nowhere/f.toml"}); err != nil {
		t.Fatal(err)
	}
	if err := f.read(cmd); exitStatus(err) != 2 || err.Error() != "cannot read the configuration: open /nowhere/f.toml: no such file or directory" {
		t.Errorf("no file: %v", err)
	}
}

// The reference file has every flag, each with its default: with all of them in it the daemon is as without a file.
func TestReferenceFile(t *testing.T) {
	text, err := os.ReadFile("../../packaging/bridged.toml")
	if err != nil {
		t.Fatal(err)
	}
	asItIs, cmd, err := flagsOf(t, string(text))
	if err != nil {
		t.Fatal(err)
	}
	without, _, _ := flagsOf(t, "")
	if !reflect.DeepEqual(asItIs, without) {
		t.Errorf("as it is:\n%+v, want\n%+v", asItIs, without)
	}
	key := regexp.MustCompile(`(?m)^#([a-z0-9-]+) = `)
	all, _, err := flagsOf(t, key.ReplaceAllString(string(text), "$1 = "))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(all, without) {
		t.Errorf("with every line:\n%+v, want the defaults\n%+v", all, without)
	}
	var have, want []string
	for _, m := range key.FindAllStringSubmatch(string(text), -1) {
		have = append(have, m[1])
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !notInFile(f.Name) && f.Name != "firewall" { // as a second name it can't be there, too
			want = append(want, f.Name)
		}
	})
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("it has the keys %q, want %q", have, want)
	}
}
