package privilege

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	// firstForeign: there is one ABI (the one of 32 bits is another architecture), so far beyond its numbers.
	firstForeign = 0x4000_0000
)

// refusedHere: fork and vfork are clone here.
func refusedHere() []uint32 { return nil }
