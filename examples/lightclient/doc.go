// Command lightclient starts a network of light servers on loopback addresses.
//
// The servers are real: each is a p2p.Server with discv5, TCP connections and
// the protocol lightdemo/1, and most answer capacity queries by UDP. Some have
// room, many are full, a few lie about it, don't answer by UDP, or have gone;
// they differ in speed and reliability. Part of them is listed in a signed DNS
// tree that a DNS server of the example publishes, the rest is found by
// discovery only. The seed decides all of it, so that a second run meets the
// same servers at the same addresses.
//
// The files: plan.go decides what each server is like, server.go is a server,
// network.go starts them and publishes the tree, protocol.go has the messages
// and the client's end of a connection.
package main
