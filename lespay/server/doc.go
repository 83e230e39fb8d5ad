// Package server decides who is served by a light server, with what capacity, and
// for how long. It is the counterpart of package lespay, which a client uses to
// find out what servers are worth.
//
// A server has a limited capacity, in units of request cost per second. Clients
// hold tokens with it, which they have paid for: these pay for connection and
// requests as they go, and make a client a priority client. Whoever has none is a
// free client, is served with the smallest capacity while there is room, and
// collects a debt, which makes it yield to others who owe less.
//
// # Use
//
//	pool, err := server.New(server.Config{Store: db, MinCapacity: 300, …})
//	pool.Start()
//	pool.SetLimits(100, 1000000)
//	udp.Register(pool, "les", "light client service") // capacity queries
//
// For each connection, [ClientPool.Register] and [ClientPool.Unregister]; for each
// request that was served, RequestServed of the [ConnectedBalance]. The pool calls
// the [Peer] when its capacity changes or when it has to go. Payments and
// administration go through [ClientPool.BalanceOperation]. [NewClientPool] makes a
// pool the way existing light servers do.
//
// # The law
//
//   - Priority is tokens per unit of capacity, or minus the debt. Who asks for the
//     place of another has to have the higher priority after it has paid for the
//     connected bias, so that clients do not take turns at every moment.
//   - Capacity is taken in steps, a quarter of what a client has at a time down to
//     the smallest capacity, always from the one with the lowest priority.
//     A slot is taken from the client that would have the lowest priority with
//     the smallest capacity. See market.
//   - What is answered to a capacity query is what a connection gets at that
//     time, by one function: core.most. Connecting with the same tokens is then
//     let in, and SetCapacity grants the answer, and no more.
//   - A raise is granted in full or not at all, and not if who waits would take it
//     back at once. An attempt that fails changes nothing.
//   - Free clients have the smallest capacity or none. The rights of who has
//     tokens begin with the first and end with the last one.
//   - Who waits is let in as soon as it could be: at every change, and once a
//     second as time passes.
//   - Others are judged by the worth they had at most a second ago, and tokens
//     within one in a thousand of it.
//   - No charge is rounded away: fractions of a token are carried on.
//   - Debts decay to 1/e in an hour, unless configured otherwise; tokens do not.
//   - A deposit is on disk when BalanceOperation returns, and refused while the
//     balance cannot be read. A crash refunds what was spent in the last five
//     minutes, a stop nothing.
//   - Clients behind one address have one debt.
//
// # Structure
//
// Plain functions and values are at the bottom: price.go, worth.go, charge.go and
// decay.go say what anything costs and is worth; order.go is a balanced tree with
// sums; market.go and room.go decide who has what. core.go and decide.go tie them
// to clients, and ledger.go keeps the balances: all of that takes the time as an
// argument, does no I/O and calls nobody, but leaves in a queue what peers are to
// be told. Around it lie pool.go with the lock, deliver.go with the callbacks and
// the timer, persist.go with the store, operate.go and service.go with what others
// call.
//
// # Concurrency
//
// All methods may be called concurrently. One mutex, ClientPool.mu, guards
// everything in memory. Balances are read from the store before it is taken, and
// written after it was released. The order of locks is scanMu, saveMu, loadMu, mu.
//
// Callbacks are made without a lock, in the order of the decisions, one at a time.
// Register and Stop wait for the callbacks of what they have decided, and
// Unregister for an UpdateCapacity that is being made: these must not be called by
// UpdateCapacity, and of them Disconnect may call Unregister only. All other
// methods may be called by callbacks. RequestServed and the other methods of a
// ConnectedBalance never make callbacks: what follows from them is delivered by
// the pool's timer.
//
// The pool starts no goroutines; its timer runs on those of the clock.
//
// # Cost
//
// With n clients every decision takes O(log n) for each client that is affected,
// and a query O(log n) for each amount, whatever has changed before. Once a second
// at most, a decision looks at the balances of all clients that are older.
//
// # Stored format
//
// That of existing light servers: keys begin with the two bytes 0002, followed by
//
//	"pb:"‖node id          tokens, RLP of lespay.ExpiredValue
//	"nb:"‖free client id   debt, likewise
//	"expiration:"          log offsets of tokens and debts, 8 bytes each
//
// Debts of up to a million are not stored, and tokens always are.
package server
