// Command simulation shows what a server pool is worth: a light client in a
// simulated network of servers finds, keeps and replaces its five servers for a
// day, which takes a second or two.
//
//	go run ./examples/simulation -plot day.svg
//	go run ./examples/simulation -scenario sybils -hours 12 -seed 7
//	go run ./examples/simulation -scenario sensitivity
//
// The network is that of package internal/testutil/simnet, whose comment tells
// what its servers are like; -help lists the scenarios. There is a line for each
// part of the simulated time, a table in the end, and with -plot a picture: how
// many servers of which kind are connected, and how long their answers take.
//
// Nothing here waits and nothing runs beside: an event loop steps from one timer
// to the next, and drives a pool without goroutines (serverpool.NewStepped). So
// the same seed gives the same result, bit for bit.
//
// The files: scenario.go lists the networks, world.go is the event loop with the
// client and the pool, report.go prints lines and tables, sensitivity.go varies
// the network, chart.go and svg.go draw.
package main
