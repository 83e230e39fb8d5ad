// Command capacityserver shows a light server with free and paying clients, on
// loopback.
//
//	go run ./examples/capacityserver
//
// The server is a p2p.Server with discv5 and TCP, a pool of package lespay/server
// that decides whom it serves, and a udpquery.Server that answers capacity queries
// from the pool. Its three slots go to free clients. Then somebody asks by UDP what
// it could have, with the tokens that it has, which are none, and with some more;
// buys them, connects, and gets what it was told. The free client that owes most
// has to go.
//
// The files: main.go tells the story, server.go is the server, client.go a client.
package main
