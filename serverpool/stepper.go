package serverpool

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Stepper drives a pool that has no goroutines, as an event loop does: a
// simulation in which the same seed and the same events lead to the same
// result. All that happens, happens in its methods, in those of the pool and in
// callbacks of the configured clock. All of them have to be called by one
// goroutine, and none of them waits.
type Stepper struct {
	pool  *ServerPool
	found *queue
	next  []func(*enode.Node) // wait for a candidate, oldest first
}

// NewStepped makes a pool that a Stepper drives. Config.Clock has to be given;
// it must not call back at once. Instead of Config.Query, which must be nil, ask
// begins a query, of which the given function has to be told the answer later;
// it is nil if servers are to be dialed unasked. Sources and the iterator of
// such a pool are not to be used, and the pool regards Stepper.DialBegins as its
// dialer.
func NewStepped(config Config, ask func(n *enode.Node, answered func(Answer))) (*ServerPool, *Stepper, error) {
	switch {
	case isNil(config.Clock):
		return nil, nil, errors.New("serverpool: Config.Clock is missing")
	case config.Query != nil:
		return nil, nil, errors.New("serverpool: Config.Query is given for a pool without goroutines")
	}
	p, err := newPool(config)
	if err != nil {
		return nil, nil, err
	}
	p.calls.later = func(f func()) { p.clock.AfterFunc(0, f) }
	if ask != nil {
		p.ask = func(_ context.Context, n *enode.Node, answered func(Answer)) { ask(n, answered) }
	}
	p.hasDialer.Store(true)
	p.wire()
	s := &Stepper{pool: p, found: &queue{filled: p.fill.wake}}
	p.mix.add(s.found)
	p.ready.filled = func() { p.calls.run(s.give) }
	return p, s, nil
}

// Discover hands over nodes that discovery has found.
func (s *Stepper) Discover(nodes ...*enode.Node) { s.found.put(nodes...) }

// Undiscovered returns how many nodes of Discover the pool has not taken yet,
// which it does when it needs candidates.
func (s *Stepper) Undiscovered() int { return s.found.len() }

// Next has f called with the next candidate, as soon as there is one; for use
// after Start. Functions of several calls are called in their order.
func (s *Stepper) Next(f func(n *enode.Node)) {
	s.next = append(s.next, f)
	s.pool.ready.await(1)
	s.pool.calls.run(s.give)
}

// give hands candidates to those who wait.
func (s *Stepper) give() {
	for len(s.next) > 0 {
		candidate := s.pool.ready.pick()
		if candidate == nil {
			return
		}
		if n := s.pool.give(candidate); n != nil {
			f := s.next[0]
			s.next = s.next[1:]
			s.pool.ready.await(-1)
			f(n)
		}
	}
}

// SteppedDial is a dial of a node that the pool gave out.
type SteppedDial struct {
	pool *ServerPool
	node *enode.Node
	dial *dial // nil if the pool has nothing to do with it
}

// DialBegins tells the pool that a node is being dialed.
func (s *Stepper) DialBegins(n *enode.Node) *SteppedDial {
	d, _ := s.pool.dialBegins(n) // a banned one is none of ours any more
	return &SteppedDial{s.pool, n, d}
}

// Connected tells that there is a connection, on which the handshakes begin.
func (d *SteppedDial) Connected() {
	if d.dial != nil {
		d.pool.extendDial(d.node, d.dial)
	}
}

// Failed tells that the other side refused, closed or did not answer.
func (d *SteppedDial) Failed() {
	if d.dial != nil {
		d.pool.dialFailed(d.node, d.dial, broken, nil)
	}
}

// queue is a supply of nodes in the order in which they were put there.
type queue struct {
	filled func()

	mu struct {
		sync.Mutex
		nodes  []*enode.Node
		closed bool
	}
}

func (q *queue) put(nodes ...*enode.Node) {
	q.mu.Lock()
	if !q.mu.closed {
		q.mu.nodes = append(q.mu.nodes, nodes...)
	}
	q.mu.Unlock()
	q.filled()
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.nodes)
}

func (q *queue) start() {}

func (q *queue) ready() bool { return q.len() > 0 }

func (q *queue) take() (o offer, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.nodes) == 0 {
		return offer{}, false
	}
	o = offer{q.mu.nodes[0], "discovery"}
	q.mu.nodes = slices.Delete(q.mu.nodes, 0, 1)
	return o, true
}

func (q *queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.nodes, q.mu.closed = nil, true
}
