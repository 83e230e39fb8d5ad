// Command dropin is a light client and a light server as they exist, reduced to
// what they do with their pools: the glue between the pools on one side, and a
// p2p.Server, discv5, message handlers, metrics, RPC and a database on the other.
// It is compiled twice from the same source. Everything it takes from the pools
// goes through one file, of which there are two versions that differ in the import
// paths only (imports_lespool.go and imports_predecessor.go).
//
//	go run .                                                  this project's packages
//	go run -tags predecessor -ldflags=-checklinkname=0 .      those of go-ethereum v1.13.5
//
// It plays both sides on loopback and prints what happened, a behaviour a line. The
// test of this folder runs both and compares them with testdata/behaviours.md,
// where each difference has its reason.
//
// The folder disk holds the same for what is in the database.
package main
