package client_test

import (
	"errors"
	"testing"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

func TestSince(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for text, want := range map[client.Since]time.Time{
		"":                            {},
		"2026-01-02T15:04:05Z":        now,
		"2026-01-02T16:04:05.5+01:00": now.Add(time.Second / 2),
		client.SinceTime(now.Add(1)):  now.Add(1),
		"10m":                         now.Add(-10 * time.Minute),
		"1h0.5s":                      now.Add(-time.Hour - time.Second/2),
		"0":                           time.Unix(0, 0),
		"1767366245":                  now,
		"1767366245.000000001":        now.Add(1),
		"1767366245.5":                now.Add(time.Second / 2),
		"9223372036":                  time.Unix(9223372036, 0),
	} {
		if have, err := text.Time(now); err != nil || !have.Equal(want) {
			t.Errorf("%q is %v, %v, want %v", text, have, err, want)
		}
	}
	for _, text := range []client.Since{
		"yesterday", "-10m", "-5", "+5", "1.", "1.0000000001", ".5", "1e9", "0x10", "10", "10 m", "2026-01-02", "15:04", "0001-01-01T00:00:00Z",
		"99999999999999999999", "NaN", "1/2", " 5",
	} {
		have, err := text.Time(now)
		if text == "10" || text == "1." { // seconds since 1970 as well
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if !errors.Is(err, bridged.ErrInvalid) {
			t.Errorf("%q is %v, %v", text, have, err)
		}
	}
}
