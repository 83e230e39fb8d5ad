// Package lespool is the root of a library that gives a light client its
// servers: it finds them, asks them by UDP whether they have room, dials those
// that say yes, measures what each is worth, and remembers it over restarts.
// The root holds no code. It succeeds the packages p2p/nodestate and les/vflux
// of go-ethereum v1.13.5.
//
// # Packages
//
// An arrow reads "may import". The tests of this package enforce them, and
// that every package says what it is for:
//
//	examples/*            -> everything below
//	serverpool            -> nodestate, lespay, internal/wrs
//	lespay/server         -> lespay, udpquery
//	udpquery              -> internal/wrs
//	nodestate, lespay     -> internal/invariants
//	internal/wrs          -> nothing
//	internal/testutil/... -> nothing (tests and examples import it)
//	internal/fork         -> nothing (a command; copies the library into forks)
//
// serverpool never imports udpquery: the query reaches it as a function in its
// Config, so a client may ask its servers in another way, or not at all.
//
// # Reading order
//
// A user of the library begins with the package documentation of serverpool
// and with examples/lightclient. To change it, read from the bottom: first the
// law of nodestate (the order of callbacks, and who may call what), since all
// of serverpool is written in its terms; then lespay, which supplies the
// weights; then serverpool's diagram of a node's life. udpquery stands beside
// them and can be read alone. lespay/server is the other end: what a light server
// runs to decide whom it serves.
//
// # Habits
//
// Decisions are pure: they take the time as an argument and their randomness
// as a seeded source. Locks, goroutines, timers and I/O sit in a thin layer
// around them, in files that the tests of this package list; all other files
// must stay pure.
package lespool
