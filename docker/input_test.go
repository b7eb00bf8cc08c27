package docker_test

import (
	"strings"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/docker"
)

// Ids of what the tests begin with, and one of nothing.
var (
	networkID  = strings.Repeat("a", 64)
	otherID    = strings.Repeat("b", 64) // a network of Docker's without endpoints
	foreignID  = strings.Repeat("c", 64) // a network that is not Docker's
	endpointID = strings.Repeat("1", 64) // has joined, and publishes a port
	leasedID   = strings.Repeat("2", 64) // has not joined
	strangeID  = strings.Repeat("f", 64)
)

// fill puts ids into a text: $N and $O are the networks, $F the one that is not Docker's, $E and $L the endpoints, $X is none.
func fill(text string) string {
	return strings.NewReplacer("$N", networkID, "$O", otherID, "$F", foreignID, "$E", endpointID, "$L", leasedID, "$X", strangeID).Replace(text)
}

// furnished is a server whose engine has networks and endpoints.
func furnished(t testing.TB) *served {
	t.Helper()
	s := ready(t)
	s.must("/IpamDriver.RequestPool", `{"AddressSpace":"bridged-local","Pool":"10.1.0.0/24","SubPool":"","Options":{},"V6":false}`)
	s.must("/IpamDriver.RequestAddress", `{"PoolID":"10.1.0.0/24","Address":"","Options":{"RequestAddressType":"com.docker.network.gateway"}}`)
	for _, body := range []string{
		`{"NetworkID":"$N","Options":{},"IPv4Data":[{"Pool":"10.1.0.0/24","Gateway":"10.1.0.1/24"}],"IPv6Data":[]}`,
		`{"NetworkID":"$O","Options":{"com.docker.network.enable_ipv6":true},"IPv4Data":[{"Pool":"10.2.0.0/24"}],"IPv6Data":[{"Pool":"fd02::/64"}]}`,
		`{"NetworkID":"$F","Options":{},"IPv4Data":[{"Pool":"10.3.0.0/24"}]}`,
	} {
		s.must("/NetworkDriver.CreateNetwork", fill(body))
	}
	n := s.engine.networks[foreignID]
	n.Labels = nil
	s.engine.networks[foreignID] = n
	for _, body := range []string{
		`{"NetworkID":"$N","EndpointID":"$E","Interface":{"Address":"10.1.0.2/24"},"Options":{}}`,
		`{"NetworkID":"$N","EndpointID":"$L","Interface":{"Address":"10.1.0.3/24"},"Options":{}}`,
	} {
		s.must("/NetworkDriver.CreateEndpoint", fill(body))
	}
	s.must("/NetworkDriver.Join", fill(`{"NetworkID":"$N","EndpointID":"$E","SandboxKey":"/run/docker/netns/1"}`))
	s.must("/NetworkDriver.ProgramExternalConnectivity", fill(`{"NetworkID":"$N","EndpointID":"$E","Options":{
		"com.docker.network.portmap":[{"Proto":6,"Port":80,"HostPort":8080,"HostPortEnd":8080}]}}`))
	return s
}

// paths are those of all calls that have parameters.
func paths() (all []string) {
	for _, name := range []string{"GwAllocCheck", "CreateNetwork", "DeleteNetwork", "CreateEndpoint", "EndpointOperInfo", "DeleteEndpoint", "Join", "Leave",
		"ProgramExternalConnectivity", "RevokeExternalConnectivity", "DiscoverNew", "DiscoverDelete"} {
		all = append(all, "/NetworkDriver."+name)
	}
	for _, name := range []string{"RequestPool", "ReleasePool", "RequestAddress", "ReleaseAddress"} {
		all = append(all, "/IpamDriver."+name)
	}
	return all
}

// refuses makes a call that must be refused: with an error in its field, on a connection that goes on, and nothing has changed.
func (s *served) refuses(path, body, want string) {
	s.t.Helper()
	before := s.engine.snapshot()
	a := s.post(path, body)
	if failure := a.failure(path); a.status != 200 || len(a.fields) != 1 || failure == "" || !strings.Contains(failure, want) {
		s.t.Errorf("%s %.200s: %d %.400s, want %q", path, body, a.status, a.text, want)
	}
	if a.closed {
		s.t.Errorf("%s %.200s: the connection is closed", path, body)
	}
	if !s.engine.unchanged(before) {
		s.t.Errorf("%s %.200s: something changed", path, body)
	}
}

// TestMalformed: what is no JSON object, for all calls.
func TestMalformed(t *testing.T) {
	s := furnished(t)
	for _, path := range paths() {
		for body, want := range map[string]string{
			"":                                     "the body is empty: want a JSON object",
			" \n":                                  "the body is empty",
			"null":                                 "the body must be a JSON object",
			"[]":                                   "the body must be a JSON object",
			`"NetworkID"`:                          "the body must be a JSON object",
			"{":                                    "unexpected end of JSON input",
			"{}{}":                                 "after top-level value",
			`{"NetworkID":"\x`:                     "the body is no JSON: invalid character 'x' in string escape code (behind byte 16)",
			"\xff\xfe":                             "the body must be a JSON object",
			"{" + strings.Repeat("[", 100_000):     "invalid character",
			`{"a":` + strings.Repeat("[", 100_000): "exceeded max depth",
		} {
			s.refuses(path, body, want)
		}
	}
	s.must("/NetworkDriver.EndpointOperInfo", fill(`{"NetworkID":"$N","EndpointID":"$E"}`))
}

// TestIDs: ids of another form, of nothing, and of what is not Docker's.
func TestIDs(t *testing.T) {
	s := furnished(t)
	for id, want := range map[string]string{
		`""`: "64 hex digits", `"a"`: "64 hex digits", `"` + strings.Repeat("A", 64) + `"`: "64 hex digits", `"../../etc"`: "64 hex digits",
		`"` + strings.Repeat("a", 1<<20) + `"`: "64 hex digits", `null`: "64 hex digits", `{}`: "does not fit", `7`: "does not fit", `["$N"]`: "does not fit",
		`"$X"`: "not found", `"$F"`: "is not one of Docker's",
	} {
		for _, name := range []string{"EndpointOperInfo", "DeleteEndpoint", "Join", "Leave", "ProgramExternalConnectivity", "RevokeExternalConnectivity", "CreateEndpoint"} {
			s.refuses("/NetworkDriver."+name, fill(`{"NetworkID":`+id+`,"EndpointID":"$L"}`), want)
			if id != `"$F"` {
				s.refuses("/NetworkDriver."+name, fill(`{"NetworkID":"$N","EndpointID":`+id+`,"Interface":{"Address":"9.9.9.9/24"}}`), "")
			}
		}
		s.refuses("/NetworkDriver.DeleteNetwork", fill(`{"NetworkID":`+id+`}`), want)
	}
	for _, name := range []string{"EndpointOperInfo", "DeleteEndpoint", "Join", "Leave", "ProgramExternalConnectivity", "RevokeExternalConnectivity"} {
		s.refuses("/NetworkDriver."+name, fill(`{"NetworkID":"$O","EndpointID":"$E"}`), "not found on network docker-bbbbbbbbbbbb")
	}
	s.must("/NetworkDriver.Leave", fill(`{"NetworkID":"$N","EndpointID":"$E"}`))
	s.must("/NetworkDriver.DeleteEndpoint", fill(`{"NetworkID":"$N","EndpointID":"$E"}`))
}

// TestNetworkInput: networks that can't be.
func TestNetworkInput(t *testing.T) {
	s := furnished(t)
	const create = "/NetworkDriver.CreateNetwork"
	for body, want := range map[string]string{
		`{"NetworkID":"$X","Options":[]}`:                                                                           `field "Options": array does not fit there`,
		`{"NetworkID":"$X","Options":{"com.docker.network.enable_ipv6":"yes"}}`:                                     "option com.docker.network.enable_ipv6: string does not fit",
		`{"NetworkID":"$X","Options":{"com.docker.network.internal":1}}`:                                            "option com.docker.network.internal: number does not fit",
		`{"NetworkID":"$X","Options":{"com.docker.network.generic":[]}}`:                                            "option com.docker.network.generic: array does not fit",
		`{"NetworkID":"$X","Options":{"com.docker.network.generic":{"com.docker.network.driver.mtu":1400}}}`:        "option com.docker.network.generic: ",
		`{"NetworkID":"$X","Options":{"com.docker.network.generic":{"com.docker.network.driver.mtu":"big"}}}`:       "it must be a number of bytes",
		`{"NetworkID":"$X","Options":{"com.docker.network.generic":{"com.docker.network.bridge.icc":"false"}}}`:     `unknown network option "com.docker.network.bridge.icc"`,
		`{"NetworkID":"$X","IPv4Data":{}}`:                                                                          `field "IPv4Data": object does not fit there`,
		`{"NetworkID":"$X","IPv4Data":[{"Pool":7}]}`:                                                                `number does not fit there`,
		`{"NetworkID":"$X","IPv4Data":[{"Pool":""}]}`:                                                               `field "Pool": "" is no subnet`,
		`{"NetworkID":"$X","IPv4Data":[{"Pool":"10.9.0.0"}]}`:                                                       `"10.9.0.0" is no subnet`,
		`{"NetworkID":"$X","IPv4Data":[{"Pool":"fd09::/64"}]}`:                                                      `"fd09::/64" is no subnet of this family`,
		`{"NetworkID":"$X","IPv6Data":[{"Pool":"fd09::/64"}]}`:                                                      `is of a family that the network does not have`,
		`{"NetworkID":"$X","IPv4Data":[{"Pool":"10.9.0.0/24"},{"Pool":"10.8.0.0/24"}]}`:                             `2 subnets: a network has one a family`,
		`{"NetworkID":"$X","IPv4Data":[{"Pool":"10.9.0.0/24","Gateway":"10.8.0.1/24"}]}`:                            `field "Gateway": "10.8.0.1/24" is no address of the subnet 10.9.0.0/24`,
		`{"NetworkID":"$X","IPv4Data":[{"Pool":"10.9.0.0/24","Gateway":"x"}]}`:                                      `field "Gateway": "x" is no address`,
		`{"NetworkID":"$X","IPv4Data":[{"Pool":"10.9.0.0/24","AuxAddresses":{"a":"10.8.0.9/24"}}]}`:                 `field "AuxAddresses.a"`,
		`{"NetworkID":"$X","IPv4Data":[{"Pool":"10.9.0.0/24","AuxAddresses":["10.9.0.9"]}]}`:                        `does not fit`,
		`{"NetworkID":"$X","Options":{"com.docker.network.enable_ipv4":false},"IPv4Data":[{"Pool":"10.9.0.0/24"}]}`: `is of a family that the network does not have`,
		`{"NetworkID":"$X","IPv4Data":[{"Pool":"10.1.0.0/16"}]}`:                                                    "overlaps",
		`{"NetworkID":"$N","IPv4Data":[{"Pool":"10.9.0.0/24"}]}`:                                                    "already exists",
		`{"NetworkID":"$N","Options":{"com.docker.network.internal":true},"IPv4Data":[{"Pool":"10.1.0.0/24"}]}`:     "already exists",
		`{"NetworkID":"$F","IPv4Data":[{"Pool":"10.3.0.0/24"}]}`:                                                    "already exists",
	} {
		s.refuses(create, fill(body), want)
	}
	for body, want := range map[string]string{
		`{"Options":{"com.docker.network.generic":{"bridged.nothing":"1"}}}`:                                    `unknown network option "bridged.nothing"`,
		`{"Options":{"com.docker.network.generic":{"com.docker.network.bridge.gateway_mode_ipv4":"isolated"}}}`: "only an internal network can be isolated",
		`{"Options":{"com.docker.network.generic":3}}`:                                                          "does not fit",
	} {
		s.refuses("/NetworkDriver.GwAllocCheck", body, want)
	}
	before := s.engine.snapshot()
	again := fill(`{"NetworkID":"$N","Options":{},"IPv4Data":[{"Pool":"10.1.0.0/24","Gateway":"10.1.0.1/24"}],"IPv6Data":[],"Later":{"a":[1]}}`)
	if s.must(create, again); !s.engine.unchanged(before) {
		t.Error("a network that is there just so is made again")
	}
	s.must(create, fill(`{"NetworkID":"$X","IPv4Data":[{"Pool":"10.9.0.0/24"}]}`))
}

// TestEndpointInput: endpoints that can't be, and calls for which it is not the time.
func TestEndpointInput(t *testing.T) {
	s := furnished(t)
	for body, want := range map[string]string{
		`"Interface":[]`:                                                           `array does not fit there`,
		`"Interface":{"Address":"10.1.0.9"}`:                                       `field "Interface.Address": "10.1.0.9" is no address with its prefix length`,
		`"Interface":{"Address":"fd00::1/64"}`:                                     `field "Interface.Address"`,
		`"Interface":{"AddressIPv6":"10.1.0.9/24"}`:                                `field "Interface.AddressIPv6"`,
		`"Interface":{"Address":"10.1.0.1/24"}`:                                    "is not to be had",
		`"Interface":{"Address":"10.1.0.2/24"}`:                                    "is in use",
		`"Interface":{"AddressIPv6":"fd09::2/64"}`:                                 "is not to be had",
		`"Interface":{"MacAddress":"02:00"}`:                                       `field "Interface.MacAddress": invalid MAC address "02:00"`,
		`"Interface":{"MacAddress":7}`:                                             "number does not fit there",
		`"Options":{"com.docker.network.endpoint.macaddress":"AgA="}`:              "2 bytes, want 6",
		`"Options":{"com.docker.network.endpoint.macaddress":"02:00:00:00:00:99"}`: "option com.docker.network.endpoint.macaddress",
		`"Interface":{"MacAddress":"02:00:00:00:00:98"},"Options":{"com.docker.network.endpoint.macaddress":"AgAAAACZ"}`: "is not the 02:00:00:00:00:99 of option",
		`"Options":{"com.docker.network.endpoint.ifname":"a/b"}`:                                                         "invalid endpoint option com.docker.network.endpoint.ifname=a/b",
		`"Options":{"com.docker.network.endpoint.ifname":7}`:                                                             "number does not fit",
		`"Options":{"com.docker.network.endpoint.sysctls":"kernel.panic=1"}`:                                             "is not of the form",
	} {
		s.refuses("/NetworkDriver.CreateEndpoint", fill(`{"NetworkID":"$N","EndpointID":"$X",`+body+`}`), want)
	}
	s.refuses("/NetworkDriver.Leave", `{"NetworkID":7}`, `field "NetworkID": number does not fit there`)
	s.refuses("/NetworkDriver.Join", `{"EndpointID":7}`, `field "EndpointID": number does not fit there`)
	s.refuses("/NetworkDriver.CreateEndpoint", fill(`{"NetworkID":"$N","EndpointID":"$E","Interface":{"Address":"10.1.0.9/24"}}`), "has an interface already")
	s.refuses("/NetworkDriver.CreateEndpoint", fill(`{"NetworkID":"$O","EndpointID":"$E"}`), "has an interface already")
	s.refuses("/NetworkDriver.ProgramExternalConnectivity", fill(`{"NetworkID":"$N","EndpointID":"$L"}`), "has not joined a container")
	for _, path := range []string{"/NetworkDriver.Join", "/NetworkDriver.CreateEndpoint"} {
		s.refuses(path, fill(`{"NetworkID":"$N","EndpointID":"$X","SandboxKey":7,"Interface":7}`), "does not fit")
	}
	before := s.engine.snapshot()
	s.must("/NetworkDriver.CreateEndpoint", fill(`{"NetworkID":"$N","EndpointID":"$E","Interface":{"Address":"10.1.0.2/24"},"Options":{}}`))
	s.must("/NetworkDriver.Join", fill(`{"NetworkID":"$N","EndpointID":"$E","SandboxKey":"/run/docker/netns/1"}`))
	s.must("/NetworkDriver.Leave", fill(`{"NetworkID":"$N","EndpointID":"$L"}`))
	s.must("/NetworkDriver.RevokeExternalConnectivity", fill(`{"NetworkID":"$N","EndpointID":"$L"}`))
	if !s.engine.unchanged(before) {
		t.Error("calls that were made before changed something")
	}
	s.must("/NetworkDriver.CreateEndpoint", fill(`{"NetworkID":"$N","EndpointID":"$X","Interface":{"Address":"10.1.0.9/24"}}`))
}

// TestPortInput: ports that can't be, wherever they are.
func TestPortInput(t *testing.T) {
	s := furnished(t)
	for ports, want := range map[string]string{
		`{}`:                          "object does not fit",
		`"80"`:                        "string does not fit",
		`[7]`:                         "number does not fit",
		`[{"Proto":1,"Port":80}]`:     `number 0: field "Proto": 1 is none of 6 (tcp), 17 (udp) and 132 (sctp)`,
		`[{"Proto":"tcp","Port":80}]`: "string does not fit",
		`[{"Proto":6,"Port":0}]`:      `field "Port": 0 is no port`,
		`[{"Proto":6,"Port":65536}]`:  "number 65536 does not fit",
		`[{"Proto":6,"Port":-1}]`:     "number -1 does not fit",
		`[{"Proto":6,"Port":80.5}]`:   "number 80.5 does not fit",
		`[{"Proto":6,"Port":80,"HostPort":1e99}]`:              "does not fit",
		`[{"Proto":6,"Port":80,"HostPort":9,"HostPortEnd":8}]`: `field "HostPortEnd"`,
		`[{"Proto":6,"Port":80,"HostPortEnd":8}]`:              `field "HostPortEnd"`,
		`[{"Proto":6,"Port":80,"HostIP":"all"}]`:               `field "HostIP": "all" is no address of a host`,
		`[{"Proto":6,"Port":80,"HostIP":"fe80::1%eth0"}]`:      `field "HostIP"`,
		`[{"Proto":6,"Port":80,"IP":"c1"}]`:                    `field "IP": "c1" is no address`,
		`[{"Proto":6,"Port":80},{"Proto":6}]`:                  "number 1: ",
		`[{"Proto":6,"Port":80,"HostIP":"::1"}]`:               "",
	} {
		for _, name := range []string{"CreateEndpoint", "Join", "ProgramExternalConnectivity"} {
			id := "$E"
			if name == "CreateEndpoint" {
				id = "$X"
			}
			if want == "" && name != "ProgramExternalConnectivity" {
				continue
			}
			s.refuses("/NetworkDriver."+name, fill(`{"NetworkID":"$N","EndpointID":"`+id+`","Options":{"com.docker.network.portmap":`+ports+`}}`), want)
			s.refuses("/NetworkDriver."+name, fill(`{"NetworkID":"$N","EndpointID":"`+id+`","Options":{"com.docker.network.endpoint.exposedports":{}}}`), "object does not fit")
		}
	}
	if have := strings.Join(s.engine.published(endpointID), " "); have != "8080:80/tcp" {
		t.Errorf("published are %s", have)
	}
}

// TestPoolInput: pools and addresses that can't be.
func TestPoolInput(t *testing.T) {
	s := furnished(t)
	for body, want := range map[string]string{
		`{"AddressSpace":"bridged-global"}`:        `field "AddressSpace": "bridged-global" is not possible`,
		`{"AddressSpace":"elsewhere"}`:             `field "AddressSpace"`,
		`{"Pool":"10.9.0.0"}`:                      `field "Pool": "10.9.0.0" is no subnet`,
		`{"Pool":"10.9.0.0/24","V6":true}`:         "is not of the family",
		`{"Pool":"fd09::/64"}`:                     "is not of the family",
		`{"SubPool":"10.9.0.0/24"}`:                "is a part of no pool",
		`{"Pool":"10.9.0.0/24","SubPool":"x"}`:     `field "SubPool"`,
		`{"Pool":"10.9.0.0/24","V6":"no"}`:         "does not fit",
		`{"Pool":"10.9.0.0/24","Options":{"a":1}}`: "does not fit",
		`{"Pool":"10.1.0.0/24"}`:                   "is taken",
	} {
		s.refuses("/IpamDriver.RequestPool", body, want)
	}
	for body, want := range map[string]string{
		`{"PoolID":"10.9.0.0/24"}`: "not found",
		`{"PoolID":7}`:             "does not fit",
		`{"PoolID":"10.1.0.0/24","Address":"10.1.0.7/24"}`: `field "Address": "10.1.0.7/24" is no address`,
		`{"PoolID":"10.1.0.0/24","Address":"10.9.0.7"}`:    "is not in",
		`{"PoolID":"10.1.0.0/24","Address":"10.1.0.1"}`:    "is in use",
	} {
		s.refuses("/IpamDriver.RequestAddress", body, want)
	}
	for body, want := range map[string]string{
		`{"PoolID":"10.1.0.0/24"}`:                      `field "Address": "" is no address`,
		`{"PoolID":"10.1.0.0/24","Address":"x"}`:        "is no address",
		`{"PoolID":"10.1.0.0/24","Address":"10.1.0.9"}`: "was not given out",
		`{"PoolID":"10.9.0.0/24","Address":"10.9.0.9"}`: "was not given out",
	} {
		s.refuses("/IpamDriver.ReleaseAddress", body, want)
	}
	s.refuses("/IpamDriver.ReleasePool", `{"PoolID":"../x"}`, "invalid pool id")
	s.must("/IpamDriver.ReleaseAddress", `{"PoolID":"10.1.0.0/24","Address":"10.1.0.1"}`)
	s.must("/IpamDriver.ReleasePool", `{"PoolID":"10.1.0.0/24"}`)
}

// TestHuge: a body that is too long is an error as any other; the longest that makes sense is none.
func TestHuge(t *testing.T) {
	s := furnished(t)
	before := s.engine.snapshot()
	a := s.post("/NetworkDriver.CreateNetwork", `{"NetworkID":"`+strings.Repeat("a", 9<<20)+`"}`)
	if !strings.Contains(a.failure("/NetworkDriver.CreateNetwork"), "the body is too large") || !s.engine.unchanged(before) {
		t.Errorf("9 MiB: %d %.200s", a.status, a.text)
	}
	var ports []string
	for range 65535 {
		ports = append(ports, `{"Proto":6,"IP":"","Port":80,"HostIP":"0.0.0.0","HostPort":65000,"HostPortEnd":65000}`)
	}
	s.must("/NetworkDriver.ProgramExternalConnectivity", fill(`{"NetworkID":"$N","EndpointID":"$E","Options":{"com.docker.network.portmap":[`+strings.Join(ports, ",")+`]}}`))
	if have := s.engine.published(endpointID); len(have) != len(ports) {
		t.Errorf("%d ports are published", len(have))
	}
}

// TestUnknownCall: a path that is none of the protocol's is a 404, of which Docker makes "not supported".
func TestUnknownCall(t *testing.T) {
	s := ready(t)
	for _, path := range []string{"/", "/NetworkDriver.AllocateNetwork", "/NetworkDriver", "/networkdriver.join", "/NetworkDriver.Join/", "/NetworkDriver.%4aoin/x", "/VolumeDriver.Create"} {
		if a := s.post(path, "{}"); a.status != 404 || a.failure(path) == "" || a.closed {
			t.Errorf("%s: %+v", path, a)
		}
	}
	if a := s.post("/IpamDriver.Nothing", ""); a.status != 404 || a.fields["Error"] == nil || a.fields["Err"] != nil {
		t.Errorf("an unknown call of the IPAM driver: %+v", a)
	}
	if a := s.do("GET", "/NetworkDriver.Join", nil); a.status != 200 || !strings.Contains(a.failure(""), "use POST") {
		t.Errorf("GET: %+v", a)
	}
}

func TestNetworkName(t *testing.T) {
	name := docker.NetworkName("0123456789abcdef" + strings.Repeat("0", 48))
	if err := bridged.CheckName("network", name); name != "docker-0123456789ab" || err != nil {
		t.Errorf("the name is %s, %v", name, err)
	}
}
