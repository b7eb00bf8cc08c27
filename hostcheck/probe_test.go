package hostcheck_test

import (
	"testing"
	"time"

	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/nstest"
)

func TestX(t *testing.T) {
	n := nstest.New(t)
	n.Do(func() {
		start := time.Now()
		k, err := hostcheck.Probe()
		t.Log(time.Since(start), err)
		for _, f := range k.Features {
			t.Log(f)
		}
		t.Log(n.Run("nft list ruleset"), n.Run("ip link"))
	})
}
