package simnet

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// This file joins the client to pools that have goroutines and wait. It is for
// testing/synctest, where virtual time waits for all of them.

// NodeDialer opens connections, as p2p.Config.Dialer does.
type NodeDialer interface {
	Dial(context.Context, *enode.Node) (net.Conn, error)
}

// BlockingPool is a pool as light clients know it.
type BlockingPool struct {
	Iterator   enode.Iterator                   // of candidates
	Dialer     func(next NodeDialer) NodeDialer // wraps p2p's; nil: the pool has none
	Register   func(*enode.Node) (Tracker, error)
	Unregister func(*enode.Node)
	Timeout    func() time.Duration
}

// Blocking returns the pool in the form that a client drives.
func Blocking(pool BlockingPool) Pool {
	b := &blocking{pool: pool}
	if pool.Dialer != nil {
		b.dialer = pool.Dialer(b)
	}
	b.mu.conns = make(map[enode.ID]*conn)
	return b
}

type blocking struct {
	pool   BlockingPool
	dialer NodeDialer
	giveUp func(*enode.Node) // tells the client that the pool ended a dial
	mu     struct {
		sync.Mutex
		conns map[enode.ID]*conn // dials and connections
	}
}

// conn is a dial and its connection.
type conn struct {
	connected bool // guarded by the client
	cancel    context.CancelFunc
	result    chan error // of the connection attempt
	ready     chan struct{}
	wrapped   net.Conn // once ready; nil: the dial failed
	peer      net.Conn // the server's end
}

func (b *blocking) Next(f func(*enode.Node)) {
	go func() {
		if b.pool.Iterator.Next() {
			f(b.pool.Iterator.Node())
		} else {
			f(nil)
		}
	}()
}

func (b *blocking) DialBegins(n *enode.Node) {
	if b.dialer == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{cancel: cancel, result: make(chan error, 1), ready: make(chan struct{})}
	ctx = context.WithValue(ctx, connKey{}, c)
	b.mu.Lock()
	b.mu.conns[n.ID()] = c
	b.mu.Unlock()
	go func() {
		c.wrapped, _ = b.dialer.Dial(ctx, n)
		close(c.ready)
	}()
}

// connKey is the key of a dial in the context that the pool passes on.
type connKey struct{}

// Dial implements NodeDialer. It waits until the client knows what comes of the
// dial.
func (b *blocking) Dial(ctx context.Context, n *enode.Node) (net.Conn, error) {
	c := ctx.Value(connKey{}).(*conn)
	select {
	case err := <-c.result:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			b.take(n)
			b.giveUp(n)
		}
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	c.peer = theirs
	return ours, nil
}

// take removes a dial or connection; nil if there is no dialer.
func (b *blocking) take(n *enode.Node) *conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.mu.conns[n.ID()]
	delete(b.mu.conns, n.ID())
	return c
}

func (b *blocking) DialFails(n *enode.Node, err error) {
	c := b.take(n)
	if c == nil {
		return
	}
	if errors.Is(err, context.Canceled) {
		c.cancel()
	}
	if c.connected {
		c.hangUp()
	} else {
		c.result <- err
	}
}

func (b *blocking) DialConnects(n *enode.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.mu.conns[n.ID()]; c != nil {
		c.connected = true
		c.result <- nil
	}
}

// Refused closes the connection from the other side.
func (b *blocking) Refused(n *enode.Node) {
	if c := b.take(n); c != nil {
		go func() {
			<-c.ready
			c.peer.Close()
			c.hangUp()
		}()
	}
}

// hangUp closes the connection from this side. It does not wait, as the pool may
// take its time.
func (c *conn) hangUp() {
	go func() {
		<-c.ready
		c.wrapped.Close()
		c.peer.Close()
		c.cancel()
	}()
}

func (b *blocking) Register(n *enode.Node) (Tracker, error) { return b.pool.Register(n) }

func (b *blocking) Unregister(n *enode.Node) {
	b.pool.Unregister(n)
	if c := b.take(n); c != nil {
		c.hangUp()
	}
}

func (b *blocking) Timeout() time.Duration { return b.pool.Timeout() }

// Ask is Query for those who wait: it returns when the answer is there.
func (c *Client) Ask(n *enode.Node) Answer {
	answer := make(chan Answer, 1)
	c.Query(n, func(a Answer) { answer <- a })
	return <-answer
}

// Iterator returns the source as an iterator, which waits until the next node is
// there.
func (s *Source) Iterator() enode.Iterator {
	return &iterator{source: s, closed: make(chan struct{})}
}

type iterator struct {
	source *Source
	node   *enode.Node
	once   sync.Once
	closed chan struct{}
}

func (it *iterator) Next() bool {
	select {
	case <-it.closed:
		return false
	default:
	}
	if d := it.source.wait(); d > 0 {
		timer := it.source.net.clock.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C():
		case <-it.closed:
			return false
		}
	}
	it.node = it.source.net.Node(it.source.take())
	return true
}

func (it *iterator) Node() *enode.Node { return it.node }
func (it *iterator) Close()            { it.once.Do(func() { close(it.closed) }) }
