package reserve

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Ephemeral is the range that the kernel chooses ports from, and which ports an administrator has reserved (in it or not):
// the sysctls ip_local_port_range and ip_local_reserved_ports, which hold for both families.
func Ephemeral() (first, last uint16, reserved func(uint16) bool, err error) {
	rangeText, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, 0, nil, fmt.Errorf("cannot learn the ephemeral ports: %w", err)
	}
	reservedText, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return 0, 0, nil, fmt.Errorf("cannot learn the reserved ports: %w", err)
	}
	if first, last, err = parseRange(strings.Fields(string(rangeText))); err != nil {
		return 0, 0, nil, fmt.Errorf("cannot read ip_local_port_range %q: %w", rangeText, err)
	}
	if reserved, err = parseReserved(string(reservedText)); err != nil {
		return 0, 0, nil, fmt.Errorf("cannot read ip_local_reserved_ports %q: %w", reservedText, err)
	}
	return first, last, reserved, nil
}

// parseRange reads one port, or the first and the last of a range.
func parseRange(text []string) (first, last uint16, err error) {
	var ports [2]uint16
	if len(text) == 1 {
		text = []string{text[0], text[0]}
	}
	if len(text) != 2 {
		return 0, 0, fmt.Errorf("%d numbers, want 2", len(text))
	}
	for i, s := range text {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return 0, 0, err
		}
		ports[i] = uint16(n)
	}
	if ports[1] < ports[0] {
		return 0, 0, fmt.Errorf("the range %d-%d ends before it begins", ports[0], ports[1])
	}
	return ports[0], ports[1], nil
}

// parseReserved reads a list as "8080,9148-9150".
func parseReserved(text string) (func(uint16) bool, error) {
	ports := make(map[uint16]bool)
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		first, last, err := parseRange(strings.Split(part, "-"))
		if err != nil {
			return nil, err
		}
		for p := int(first); p <= int(last); p++ {
			ports[uint16(p)] = true
		}
	}
	return func(p uint16) bool { return ports[p] }, nil
}
