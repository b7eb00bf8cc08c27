package bridged

import "time"

// Types of events, and what each one's ID and Name are.
const (
	EventNetwork = "network" // a network's id and name
	EventSandbox = "sandbox" // a sandbox's id and name
	EventLease   = "lease"   // the endpoint's id, and what the lease is called
	EventPort    = "port"    // the id and name of the sandbox whose port it is; of a lease, its key and what it is called
	EventLink    = "link"    // the link's id, and the alias
	EventDaemon  = "daemon"  // none
)

// Event says what became of an object. Attributes are words for people and programs; which ones there are depends on Type and
// Action, and more may come.
type Event struct {
	Time time.Time // in UTC
	// Type is one of EventNetwork, …; Action says what happened, as "create" or "repair".
	Type, Action string
	ID, Name     string
	Attributes   map[string]string
}
