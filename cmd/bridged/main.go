// Command bridged is the daemon and its command line: container networks on one Linux host, with nothing but netlink.
//
// The commands speak to the daemon through package client; only `bridged daemon` knows the engine. Data goes to stdout,
// everything else to stderr. Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 conflict or in use, 5 permission
// denied, 10 ran and found something, 69 no daemon.
//
// Under the name bridged-cni it is the CNI plugin.
package main

import (
	"io"
	"os"
)

func main() {
	if isPlugin(os.Args) { // before the tree of commands is built: a runtime waits for each of these processes
		os.Exit(runPlugin(os.Getenv))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command and returns its exit status.
func run(args []string, stdout, stderr io.Writer) int {
	app := &app{stdout: stdout, stderr: stderr}
	root := newRoot(app)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	app.printError(err)
	return exitStatus(err)
}
