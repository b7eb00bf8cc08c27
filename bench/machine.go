package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/bench/report"
)

// machine is what the run's figures belong to.
func machine(version string) report.Machine {
	m := report.Machine{Bridged: version, CPUs: runtime.NumCPU(), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = info.Totalram * uint64(info.Unit)
	}
	m.CPU = field("/proc/cpuinfo", "model name")
	m.HZ = timerFrequency(m.Kernel)
	return m
}

// field is the first value of "key : value" in a file; "" when there is none.
func field(file, key string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// timerFrequency is CONFIG_HZ of the running kernel; "" where its configuration is not to be had.
func timerFrequency(release string) string {
	text, err := os.ReadFile("/boot/config-" + release)
	if f, openErr := os.Open("/proc/config.gz"); err != nil && openErr == nil {
		defer f.Close()
		if z, zipErr := gzip.NewReader(f); zipErr == nil {
			text, _ = io.ReadAll(z) // what there is of it is enough, or there is no line
		}
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if hz, ok := strings.CutPrefix(lines.Text(), "CONFIG_HZ="); ok {
			return hz
		}
	}
	return ""
}

// cpuTime is what the processors did until now.
type cpuTime struct{ total, busy, ours time.Duration }

// tick is the unit of /proc/stat (USER_HZ), the same for all programs.
const tick = 10 * time.Millisecond

func clock() cpuTime {
	var c cpuTime
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line)[1:] {
		n, err := strconv.ParseInt(f, 10, 64)
		const idle, iowait, irq, softirq, guest = 3, 4, 5, 6, 8
		if err != nil || i >= guest { // guests are in user time, too
			break
		}
		c.total += time.Duration(n) * tick
		switch i {
		case idle, iowait, irq, softirq: // what interrupts do is on nobody's account, and packets are theirs
		default:
			c.busy += time.Duration(n) * tick
		}
	}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			c.ours += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return c
}

// others is the share of the processors' time between c and later that others used: other processes, the kernel's own threads (some of
// which work for us), and other machines on the same hardware. Interrupts are nobody's.
func (c cpuTime) others(later cpuTime) float64 {
	total := later.total - c.total
	if total <= 0 {
		return 0
	}
	return max(0, float64((later.busy-c.busy)-(later.ours-c.ours))/float64(total))
}
