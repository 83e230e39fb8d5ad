// Package simnet is a network of light servers in virtual time, and a light
// client in it that does what an application with go-ethereum's p2p does. It
// measures what a pool of servers is worth: how soon there are connections, to
// which servers, and what these give.
//
// # The network
//
// A [Network] consists of servers of different classes (good, average, poor),
// some of which lie, are sybils, or cannot be asked by UDP, and of records that
// are dead. Each server has its place in the Internet, which gives the
// round-trip time (measured ones, see testdata), a time that it takes
// for an answer, a share of requests that it does not answer, times at which it
// has room and is full, times at which it is away, and times at which it ends
// whatever session it has.
//
// All of this is a function of the seed, the server and the time alone. It does
// not depend on what was asked before, nor on the order of questions: two pools
// with one seed meet the same network. Each server has generators of its own,
// which are advanced only when somebody looks. One thing is the client's doing: a
// place that it leaves stays free until somebody else takes it.
//
// # The client
//
// A [Client] has a dial scheduler, sessions and requests like those of a light
// client, and a [Record] of what happened. It drives a [Pool], a small interface
// of calls that do not wait; [Blocking] makes one of a pool with goroutines,
// whose iterator and query function wait.
//
// # Time
//
// Everything is driven by AfterFunc of a mclock.Clock. With testutil.Clock, all
// runs on the goroutine that runs the clock, and a seed gives the same result bit
// for bit. In a testing/synctest bubble, with a clock over the bubble's time,
// several callbacks may run at once; one mutex in the client guards it and the
// network. What a pool asks of the client is never done within the call but
// right after it, at the same instant, so a pool may call from anywhere.
package simnet
