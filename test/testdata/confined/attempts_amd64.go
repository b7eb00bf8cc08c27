package main

import "golang.org/x/sys/unix"

// x32 is the bit of the other ABI's numbers.
const x32 = 0x4000_0000

func attemptsHere() []attempt {
	return []attempt{
		start("fork", unix.SYS_FORK, 0),
		call("x32 getpid", x32|unix.SYS_GETPID, 0, 0, 0),
		call("ioperm", unix.SYS_IOPERM, nobody, nobody, 0),
	}
}
