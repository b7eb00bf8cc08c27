package flowtest

import (
	"fmt"
	"net/netip"
	"time"
)

// Volley sends datagrams to a server by one socket until ended is closed, each after the answer to the one before, and returns how many were
// answered. One that is not answered is an error, and so is one that is refused.
func Volley(from *Space, to netip.AddrPort, ended <-chan struct{}) (answered int, err error) {
	c, err := Dial(from, "udp", to, "")
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for {
		select {
		case <-ended:
			return answered, nil
		default:
		}
		mark := NewMark()
		if _, err := c.Write([]byte(mark)); err != nil {
			return answered, err
		}
		if err := c.SetReadDeadline(time.Now().Add(Patience)); err != nil {
			return answered, err
		}
		if _, err := ReadAnswer(c, mark); err != nil {
			return answered, fmt.Errorf("a datagram to %s was lost: %w", to, err)
		}
		answered++
	}
}
