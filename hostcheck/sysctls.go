package hostcheck

// The sysctls that are looked at, relative to /proc/sys.
const (
	bridgeNFCall4 = "net/bridge/bridge-nf-call-iptables"
	bridgeNFCall6 = "net/bridge/bridge-nf-call-ip6tables"
	forwarding4   = "net/ipv4/ip_forward"
	forwarding6   = "net/ipv6/conf/all/forwarding"
)
