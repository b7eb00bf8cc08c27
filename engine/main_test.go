package engine

import (
	"testing"

	"github.com/bridged/bridged/internal/nstest"
)

func TestMain(m *testing.M) { nstest.PrivateMounts(m) }
