// Pause does nothing until it is killed: it is what runs in the containers that the benchmark has Docker Engine make.
package main

import "time"

func main() {
	for {
		time.Sleep(time.Hour)
	}
}
