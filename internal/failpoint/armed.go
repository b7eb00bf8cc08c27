//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// variable names the file with the order.
const variable = "BRIDGED_FAILPOINTS"

// passes counts the passes of the point that the order names. Points have no object that could hold it.
var passes struct {
	sync.Mutex
	order string
	count int
}

// Reached is a place at which a crash is tried.
func Reached(name string) {
	file := os.Getenv(variable)
	if file == "" {
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	passes.Lock()
	defer passes.Unlock()
	if order := strings.TrimSpace(string(text)); order == "record" {
		record(file+".passed", name)
	} else if name == pointOf(order) {
		obey(order)
	}
}

// Each is one place for every type that what may have: its name is "NAME TYPE", without the type's package.
func Each(name string, what any) {
	kind := fmt.Sprintf("%T", what)
	Reached(name + " " + kind[strings.LastIndexByte(kind, '.')+1:])
}

func record(file, name string) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString(name + "\n"); err != nil {
		panic(err)
	}
}

func pointOf(order string) string { return order[:max(0, strings.LastIndexByte(order, ':'))] }

// obey counts a pass of the point that the order names, and ends the process when it is the one.
func obey(order string) {
	if passes.order != order {
		passes.order, passes.count = order, 0
	}
	passes.count++
	n, err := strconv.Atoi(order[strings.LastIndexByte(order, ':')+1:])
	if err != nil {
		panic(fmt.Sprintf("%s: no order: %q", variable, order))
	}
	if passes.count == n {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // nothing comes after it
	}
}
