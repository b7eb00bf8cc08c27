// Package addr holds IP addresses, routes and Ethernet addresses of links as values: it lists, compares, watches, adds and
// deletes them by rtnetlink, derives MACs from addresses, and tells a link's neighbours where an address lives now.
//
// A [Conn] works in the network namespace of the thread that dialled it. Links are named by their index.
package addr
