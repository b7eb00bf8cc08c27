package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"syscall"

	"github.com/bridged/bridged"
)

// Error is the body of each answer that is no success.
type Error struct {
	// Message says what could not be done and why.
	Message string `json:"message"`
	// Code is the error's kind, see [bridged.Code].
	Code string `json:"code"`
}

// maxErrorBody is how much of a failure's body is read, in bytes: more than any message of ours.
const maxErrorBody = 64 << 10

// decodeError is the error in an answer, with its kind.
func decodeError(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return fmt.Errorf("the daemon answered %s, and then broke off: %w", resp.Status, err)
	}
	var e Error
	if json.Unmarshal(text, &e) != nil || e.Message == "" {
		return fmt.Errorf("the daemon answered %s: %.200q; is it bridged that listens there?", resp.Status, text)
	}
	return bridged.FromCode(e.Code, e.Message)
}

// connectError explains why no answer came: ErrUnavailable without a daemon, ErrDenied when the socket may not be used.
func (c *Client) connectError(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the daemon at %s did not answer: %w", c.host, err)
	case errors.Is(err, fs.ErrNotExist):
		return &absentError{bridged.Errorf(bridged.ErrUnavailable,
			"no daemon at %s: the socket does not exist; start it with: bridged daemon", c.host)}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &absentError{bridged.Errorf(bridged.ErrUnavailable,
			"no daemon at %s: nothing listens on the socket; start it with: bridged daemon", c.host)}
	case errors.Is(err, fs.ErrPermission):
		return bridged.Errorf(bridged.ErrDenied,
			"cannot use the daemon's socket %s: permission denied; be root or a member of the group bridged", c.host)
	}
	return bridged.Errorf(bridged.ErrUnavailable, "no answer from the daemon at %s: %w", c.host, err)
}

// absentError: there is no daemon, not even one that breaks off.
type absentError struct{ error }

func (e *absentError) Unwrap() error { return e.error }
