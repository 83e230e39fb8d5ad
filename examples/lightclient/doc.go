// Command lightclient shows a light client that finds its servers with a server
// pool, on a network of light servers on loopback addresses.
//
//	go run ./examples/lightclient -duration 20s
//
// The servers are real: each is a p2p.Server with discv5, TCP connections and
// the protocol lightdemo/1, a pool of clients of package lespay/server decides
// whom it serves, and most answer capacity queries by UDP from that. Some have
// room, many are full, a few lie about it, don't answer by UDP, or have gone;
// they differ in speed and reliability. Part of them is listed in a signed DNS
// tree that a DNS server of the example publishes, the rest is found by
// discovery only. The seed decides all of it, so that a second run meets the
// same servers at the same addresses.
//
// The client is a p2p.Server too. Its dial candidates are those of the pool, its
// dialer is the pool's, and it tells the pool what each request brought. With
// -datadir a second run begins with the servers that were good in the first;
// with -noquery servers are dialed without being asked, which shows what the
// queries save.
//
// The files: client.go is the client and how it embeds the pool, stats.go and
// display.go show what happens; plan.go decides what each server is like,
// server.go is a server, clients.go how it decides whom it serves, network.go starts them and publishes the tree,
// protocol.go has the messages and the client's end of a connection.
package main
