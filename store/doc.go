// Package store keeps a [bridged.State] on disk, so that a daemon that was killed at any instant finds what it had promised.
//
// What outlives a boot, networks and reservations, lies in the state directory, one JSON file each, replaced atomically and synced. What
// can't outlive a boot (sandboxes, endpoints, ports, leases) is a log in the run directory, which is a tmpfs: one line a
// change, a single write(2) each and no fsync, since the log has to survive kill −9 but no power cut. Its first line names the boot;
// the log of another boot is discarded. The log says these, too: where an object's file is damaged or gone in the same boot, it is
// written anew from there, and where it is still there although its removal was recorded, the removal is finished.
//
//	RUN/lock                     held by flock(2); holds the daemon's pid
//	RUN/log                      header and records
//	RUN/length                   how long the log is
//	RUN/log.former               the log of the last boot, until its files are cleared away
//	STATE/lock                   as RUN/lock
//	STATE/networks/ID.json       one network
//	STATE/reservations/ID.json   one subnet that is kept, the id escaped as in a URL
//	STATE/values/NAME            one small value
//	….broken, ….broken-2         what could not be read, set aside
//
// A record is the CRC-32C of its JSON in eight hex digits, a space, the JSON and a newline. A last line without its newline was
// torn by a crash and never acknowledged: it is cut off. Any other line that does not check is damage, and so is an end that is
// missing: the log is set aside, the lines that check are kept, and a warning says so. From then on, until it is compacted, the log's header says that
// it is incomplete: the engine asks the kernel for the rest.
//
// Everything has a number of its format. An older format is read and written anew; a newer one is refused, and nothing is changed.
package store
