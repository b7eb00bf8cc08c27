// Package api serves the daemon's calls over HTTP on its unix socket: Docker Engine's network calls, so that Docker's own
// client works with it, and ours below /bridged/v1/. Docker's client sees sandboxes as containers, which it can look at but not run, and
// what happens to networks and sandboxes as Docker's events. docs/openapi.json describes each call; the tests hold it against what is
// really sent.
//
//	GET /networks ─► route (a row of the table) ─► wire values ─► Engine ─► wire values ─► JSON
//
// A row says what a call may carry and whether it changes something: calls that do are for privileged peers only, and wait
// until the engine is ready. A handler translates between the wire types of package client and the values of package
// bridged, and does nothing else.
package api
