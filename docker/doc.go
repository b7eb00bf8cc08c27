// Package docker is a network and an IPAM driver of Docker Engine: it serves Docker's plugin protocol, JSON over HTTP POST, on a unix socket.
//
//	docker run -p 80:80 ──► Docker Engine ─► RequestAddress               a pool's address             ┐
//	                                         CreateEndpoint               a lease of it                │
//	                                         Join                         the lease's link, whose one  ├─► Engine
//	                                                                      end the engine moves         │
//	                                         ProgramExternalConnectivity  the lease's published ports  ┘
//
// A network of Docker's is a network as any other: its id is Docker's, its name [NetworkName] of that, and its options are those of `network create`. An
// endpoint is a lease, under Docker's id of it as the key, with a link. Nothing of them is kept here but what interfaces are to be called (prefix.go): each call is
// answered from what the engine has, so that it makes no difference whether Docker, the daemon or both were restarted before it.
//
// Docker repeats a call whose answer it did not get. One that makes something which is there just so is answered as the first was; the calls that set
// something or take it away (Join, ProgramExternalConnectivity, RevokeExternalConnectivity, Leave) can be made any number of times while their
// endpoint exists. All else that does not fit, malformed, unknown or out of order, is answered with an error in the field that Docker looks
// at, and changes nothing.
//
// The names of networks and containers are not in these calls. Those of containers are asked for behind the answers, of Docker's own API.
package docker
