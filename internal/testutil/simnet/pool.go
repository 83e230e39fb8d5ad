package simnet

import (
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Pool is what the client needs of a pool of servers. No call waits, and none
// calls back into the client on its own stack but by the client's methods Query
// and Disconnect.
type Pool interface {
	// Next asks for one candidate, which comes as an argument of f, once and
	// after the call has returned. There is one request at a time.
	Next(f func(*enode.Node))

	// A candidate is dialed, and the dial fails; or there is a connection, and
	// the other side refuses it or the node is registered. Dials that are given
	// up, connected or not, fail with context.Canceled.
	DialBegins(n *enode.Node)
	DialFails(n *enode.Node, err error)
	DialConnects(n *enode.Node)
	Refused(n *enode.Node)

	// Register begins a session, and Unregister ends it.
	Register(n *enode.Node) (Tracker, error)
	Unregister(n *enode.Node)
	// Timeout returns the recommended timeout of requests.
	Timeout() time.Duration
}

// Tracker is told what a server does. One call stands for one request.
type Tracker interface {
	Served(after time.Duration)
	Failed()
}
