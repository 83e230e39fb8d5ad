// Package upstream measures this project side by side with what it succeeds in
// go-ethereum v1.13.5: package nodestate beside p2p/nodestate, and package
// serverpool beside the pool of les/vflux/client. It is a module of its own, so
// that the old release can be imported as a library and no user of the project
// depends on it.
//
// # Node states
//
// The works are benchmarks in pairs, BenchmarkTheirs… and BenchmarkOurs…, whose
// bodies are written once for each side in files that mirror each other
// (theirs_test.go and ours_test.go, and so on): the same nodes in the same
// order, the same subscribers, the same clock. No interface stands in between,
// as it would cost the faster side more. TestSidesDoTheSameWork checks that
// the pairs call their subscribers equally often.
//
// Command bench in the folder of that name runs the pairs by turns, each
// benchmark in a process of its own, and makes tables of the medians, with targets
// and verdicts. From this folder:
//
//	go run ./bench                      all works, about fifteen minutes
//	go run ./bench -tables nodestate    only node states
//	go run ./bench -help                its options
//	go test -bench Ours                 one side, as for any other benchmark
//
// The last recorded table is in RESULTS.md. On a machine that does other work
// meanwhile look at the ratios, not at the times.
//
// # Pools of clients
//
// The works of serving_test.go have both server halves, package lespay/server and
// les/vflux/server, serve the same clients, and those of flood_test.go the limiters
// before them. They are benchmarks like the others, but for the side, which is a
// value here: the calls take too long for that to matter. Their table is recorded
// in SERVING.md.
//
//	go run ./bench -tables serving
//
// In interop_test.go each side asks the other over real discv5.
//
// # Pools of servers
//
// Command sim has both pools find and keep servers in the same networks, which
// internal/testutil/simnet simulates, in the virtual time of testing/synctest.
// Its scenarios, the figures with their targets, and the sides are a file each.
// From this folder:
//
//	go run ./sim              all scenarios, thirty seeds
//	go run ./sim -help        its options
//
// The last recorded tables are in SIMULATION.md.
//
// # Drop-in
//
// Folder dropin holds the glue of an existing light client and server. It runs with
// both sides' packages, and dropin/disk opens each side's databases with the other.
// What differs, and why, is in dropin/testdata/behaviours.md.
package upstream
