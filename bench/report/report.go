package report

import (
	"time"
)

// Report is one run.
type Report struct {
	Time     time.Time
	Duration time.Duration
	// Quick: fewer ports and samples than figures that anybody quotes should have.
	Quick   bool
	Machine Machine
	Peers   []Peer
	Rows    []Row
	// Footprint is of the daemon.
	Footprint Footprint
	Marks     []Mark
	Noise     Noise
	// Skipped is what was left out, and why.
	Skipped []string
	// Failures are what the kernel did not hold, or what did not arrive, after a workload: its figures are void. Also workloads that could not
	// be run.
	Failures []string
}

// Machine is what it ran on.
type Machine struct {
	Kernel, CPU string
	CPUs        int
	// HZ is the kernel's timer frequency; "" when the kernel does not say.
	HZ      string
	Memory  uint64 // bytes
	Go      string // version and platform
	Bridged string // version
}

// Peer is one of the ways to do the same.
type Peer struct {
	Name string
	// What it is, in a line.
	What    string
	Version string
	// Missing is why it was not measured; "" when it was.
	Missing string
}

// Footprint is what the daemon takes, in bytes; 0: not measured.
type Footprint struct {
	Binary uint64
	// Idle and Loaded are resident memory: without a sandbox, and with so many that have ten ports each.
	Idle, Loaded uint64
	Sandboxes    int
}

// Key names a row. What does not apply is zero.
type Key struct {
	// Workload is as "publish".
	Workload string
	// Peer is as in Peer.Name.
	Peer string
	// Ports are published beforehand, Endpoints attached.
	Ports, Endpoints int
	// Size is how many ports one operation has, Callers how many make operations at a time.
	Size, Callers int
	// Part is a step of the operation; "": the whole of it.
	Part string
}

// Row is what was measured of one peer in one workload.
type Row struct {
	Key
	Stats
	// Rate is operations a second, or bytes a second of what has Bytes. 0: it is of no interest.
	Rate float64
	// Bytes are moved by one operation; 0 where nothing is moved.
	Bytes int
	// Floor is the floor's peer, Ratio that of the two medians; "" and 0 without one.
	Floor string
	Ratio float64
}

// Mark is a bound that the project has set itself.
type Mark struct {
	What string
	// Bound is as "≤ 1.2".
	Bound string
	// Measured is the figure, and what it is made of; "" when what it takes was not measured.
	Measured string
	Met      bool
}

// Noise is what the machine did besides.
type Noise struct {
	// Probes are the medians of one and the same operation, the floor of a publish, before, between and after the workloads.
	Probes []time.Duration
	// Others is the share of all processors' time that others used, at most 1.
	Others float64
	// Workloads says the same of each workload.
	Workloads []WorkloadNoise
}

// WorkloadNoise is Noise of one workload.
type WorkloadNoise struct {
	Workload      string
	Before, After time.Duration
	Others        float64
}

// Row is the row of that key.
func (r *Report) Row(k Key) (Row, bool) {
	for _, row := range r.Rows {
		if row.Key == k {
			return row, true
		}
	}
	return Row{}, false
}

// Peers' names are used in many places, so they are here.
const (
	Raw           = "raw floor"
	NFT           = "nft package"
	Link          = "link package"
	Engine        = "engine"
	HTTP          = "HTTP"
	Ping          = "HTTP GET /_ping"
	GoogleRule    = "google/nftables, rule"
	GoogleElement = "google/nftables, element"
	NFTBinary     = "nft binary"
	IPTables      = "iptables (nft)"
	IPTablesOld   = "iptables (legacy)"
	Restore       = "iptables-restore (nft)"
	RestoreOld    = "iptables-restore (legacy)"
	IPBatch       = "ip -batch + iptables-restore"
	CNI           = "CNI bridge + portmap"
	Docker        = "Docker Engine"
	NoRules       = "no rules"
)
