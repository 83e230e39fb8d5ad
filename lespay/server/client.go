package server

import (
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Peer is a connected client. None of its methods may block, and UpdateCapacity
// and Disconnect must not call methods of the pool that wait for callbacks (see
// the package documentation).
type Peer interface {
	Node() *enode.Node
	// FreeClientId identifies whoever has no tokens: the remote IP address without
	// port, or the hexadecimal node id for local ones. Debt is kept under it.
	FreeClientId() string
	// InactiveAllowance is how long a client without tokens may stay connected
	// without being served. Register asks for it once, like for the others.
	InactiveAllowance() time.Duration
	// UpdateCapacity tells how much the client is served with from now on, 0 for
	// not at all. requested tells that it is what the client asked for.
	UpdateCapacity(newCap uint64, requested bool)
	// Disconnect asks to end the connection and to call Unregister.
	Disconnect()
}

// client is a connected client, guarded by the pool's lock.
type client struct {
	member // its place in the market

	pool *ClientPool
	id   enode.ID
	peer Peer

	allowance time.Duration // how long it may wait without tokens

	tokens, debt *record
	prices       prices
	charged      mclock.AbsTime // until when connection was charged
	since        mclock.AbsTime // when it connected
	requests     float64        // cost of all requests
	told         uint64         // the capacity that is charged, and that the peer knows

	paying bool // has tokens
	gone   bool // was told to disconnect
	left   bool // is not registered any more

	valued       mclock.AbsTime // when the market got to know its worth
	older, newer *client        // by that time

	waiting bool
	bid     place // among those who wait

	runsOut mclock.AbsTime // when to look whether there are tokens left
	expires mclock.AbsTime // when to disconnect
	alarm   mclock.AbsTime // the earlier of the two
	index   int            // in core.alarms, -1 if not there
}

// farFuture is a time that does not come; what is set to it is not due at all.
const farFuture = mclock.AbsTime(never)

// later returns the time after a span, farFuture if that is out of range.
func later(now mclock.AbsTime, span time.Duration) mclock.AbsTime {
	if span <= 0 {
		return now
	}
	if sum := now.Add(span); sum > now {
		return sum
	}
	return farFuture
}

// alarms is a heap of clients by the time of their alarm.
type alarms []*client

func (h alarms) Len() int           { return len(h) }
func (h alarms) Less(i, j int) bool { return h[i].alarm < h[j].alarm }
func (h alarms) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *alarms) Push(x any) {
	c := x.(*client)
	c.index = len(*h)
	*h = append(*h, c)
}

func (h *alarms) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	c.index = -1
	return c
}

// ages is a list of clients, those first whose worth was looked at longest ago.
type ages struct {
	oldest, newest *client
}

func (l *ages) push(c *client) {
	c.older, c.newer = l.newest, nil
	if l.newest == nil {
		l.oldest = c
	} else {
		l.newest.newer = c
	}
	l.newest = c
}

func (l *ages) remove(c *client) {
	if c.older == nil {
		l.oldest = c.newer
	} else {
		c.older.newer = c.newer
	}
	if c.newer == nil {
		l.newest = c.older
	} else {
		c.newer.older = c.older
	}
	c.older, c.newer = nil, nil
}
