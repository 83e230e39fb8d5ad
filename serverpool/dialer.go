package serverpool

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// NodeDialer opens connections; it is what p2p.Config.Dialer takes.
type NodeDialer interface {
	Dial(context.Context, *enode.Node) (net.Conn, error)
}

// dial is a node that was given out.
type dial struct {
	begun    bool           // its dial was seen
	began    mclock.AbsTime // likewise
	promised bool           // the server said that it has room

	// Guarded by the pool's mutex.
	reached bool          // it led to a connection
	took    time.Duration // until then
}

// Dialer wraps next so that the pool learns what becomes of the nodes that it
// gave out: the p2p server tells nobody whether it dialed a candidate at all.
// A nil next dials by TCP with a time limit of 15 seconds. Dials of other nodes
// pass through. Call it before Start and put the result into
// p2p.Config.Dialer.
func (p *ServerPool) Dialer(next NodeDialer) NodeDialer {
	if isNil(next) {
		next = tcpDialer{&net.Dialer{Timeout: 15 * time.Second}}
	}
	p.hasDialer.Store(true)
	return &watchingDialer{p, next}
}

type tcpDialer struct{ d *net.Dialer }

func (t tcpDialer) Dial(ctx context.Context, n *enode.Node) (net.Conn, error) {
	return t.d.DialContext(ctx, "tcp", (&net.TCPAddr{IP: n.IP(), Port: n.TCP()}).String())
}

type watchingDialer struct {
	pool *ServerPool
	next NodeDialer
}

// Dial implements NodeDialer.
func (d *watchingDialer) Dial(ctx context.Context, n *enode.Node) (net.Conn, error) {
	if n == nil {
		return nil, ErrNoNode
	}
	ours, err := d.pool.dialBegins(n)
	if err != nil {
		return nil, err
	}
	limited, done := d.pool.limitDial(ctx, ours)
	conn, err := d.next.Dial(limited, n)
	done()
	if conn == nil && err == nil {
		err = errNoConn
	}
	switch {
	case ours == nil:
		return conn, err
	case err == nil:
		d.pool.learnPatience(d.pool.clock.Now().Sub(ours.began))
		return d.pool.dialConnected(n, ours, conn), nil
	case errors.Is(ctx.Err(), context.Canceled):
		d.pool.dialFailed(n, ours, calledOff, nil)
	default:
		d.pool.dialFailed(n, ours, broken, err)
	}
	return nil, err
}

// limitDial returns the context for a dial of ours.
func (p *ServerPool) limitDial(ctx context.Context, d *dial) (context.Context, context.CancelFunc) {
	if d == nil || d.promised {
		return ctx, func() {}
	}
	p.mu.Lock()
	limit := p.mu.patience.limit()
	p.mu.Unlock()
	if limit == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

func (p *ServerPool) learnPatience(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.patience.connected(d)
}

// Why dials failed, where the dialer does not say.
var (
	errNoConn     = errors.New("serverpool: the dialer returned no connection")
	errPeerClosed = errors.New("closed by the other side before it was registered")
	errWeClosed   = errors.New("closed by this side before it was registered")
)

// dialBegins notes that a node is being dialed; nil if the pool did not give it
// out. The dial may come after the pool has taken the node back, but not after
// it was banned.
func (p *ServerPool) dialBegins(n *enode.Node) (d *dial, err error) {
	p.ns.Operation(func(op nodestate.Op) {
		state := op.Machine().GetState(n)
		switch {
		case state.HasAll(p.st.dialed):
		case state.HasAll(p.st.redialWait) && p.historyOf(n).isGiven:
		default:
			return
		}
		if b, ok := p.banOf(n.ID()); ok && state.HasNone(p.st.alwaysConnect) {
			err = banned(b.reason)
			return
		}
		d = &dial{begun: true, began: p.clock.Now(), promised: p.promised(n.ID())}
		p.setDialed(op, n, d, dialTimeout)
	})
	return d, err
}

// failure tells why a dial led to no registered server.
type failure int

const (
	broken    failure = iota // the other side let us down
	closed                   // this side ended the connection
	calledOff                // this side ended the dial before it was decided
)

// dialFailed ends a dial, unless that was ended already. The error is for
// people; nil if there is none.
func (p *ServerPool) dialFailed(n *enode.Node, d *dial, why failure, err error) {
	p.ns.Operation(func(op nodestate.Op) {
		if !p.isCurrent(n.ID(), d) {
			return
		}
		switch why {
		case calledOff:
			p.note(n.ID(), outcomeNotDialed, "")
			p.leaveAlone(op, n, minRedialWait*time.Second)
			return
		case broken:
			p.count(func(c *counts) { c.refused++ })
			p.dialDecides(n.ID(), false)
			p.foundFull(n.ID(), d)
			p.meet(op, n)
			p.noteReach(d, false)
		}
		p.tellRefused(n, outcomeRefused, err)
		p.endDial(op, n)
	})
}

// dialConnected gives the handshakes their time and watches the connection
// until the node is registered.
func (p *ServerPool) dialConnected(n *enode.Node, d *dial, conn net.Conn) net.Conn {
	p.extendDial(n, d)
	return &watchedConn{Conn: conn, pool: p, node: n, dial: d}
}

// extendDial gives the handshakes their time.
func (p *ServerPool) extendDial(n *enode.Node, d *dial) {
	p.ns.Operation(func(op nodestate.Op) {
		if p.isCurrent(n.ID(), d) {
			op.AddTimeout(n, p.st.dialTimeout, dialTimeout)
			p.noteReach(d, true)
		}
	})
}

// noteReach notes whether a dial found anybody there.
func (p *ServerPool) noteReach(d *dial, reached bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case reached:
		d.reached, d.took = true, p.clock.Now().Sub(d.began)
		p.mu.ownNet.reacted()
	case !d.reached:
		p.mu.ownNet.nothing()
	}
}

// isCurrent tells whether a dial has neither succeeded nor failed yet.
func (p *ServerPool) isCurrent(id enode.ID, d *dial) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.dials[id] == d
}

// watchedConn is the connection of a dial. Its end before the node was
// registered ends the dial.
type watchedConn struct {
	net.Conn
	pool   *ServerPool
	node   *enode.Node
	dial   *dial
	broken atomic.Bool // the other side ended it
	closed atomic.Bool
}

// Read implements net.Conn.
func (c *watchedConn) Read(b []byte) (int, error) {
	k, err := c.Conn.Read(b)
	if err != nil && !c.closed.Load() && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.broken.Store(true)
	}
	return k, err
}

// Close implements net.Conn.
func (c *watchedConn) Close() error {
	if c.closed.Swap(true) || !c.pool.isCurrent(c.node.ID(), c.dial) {
		return c.Conn.Close()
	}
	why, reason := closed, errWeClosed
	if c.broken.Load() || c.endedByPeer() {
		why, reason = broken, errPeerClosed
	}
	err := c.Conn.Close()
	c.pool.dialFailed(c.node, c.dial, why, reason)
	return err
}

// peerEndWait is how long a closing connection is watched for the other side's
// end of it. A server that refuses says so and closes at once; the p2p server
// answers the message by closing too, so that both look the same from here
// unless one waits a moment. More finds refusals over slower paths, less closes
// sooner.
const peerEndWait = 20 * time.Millisecond

func (c *watchedConn) endedByPeer() bool {
	if err := c.Conn.SetReadDeadline(time.Now().Add(peerEndWait)); err != nil {
		return errors.Is(err, io.ErrClosedPipe) // so a net.Pipe says it
	}
	var buf [512]byte
	for {
		if _, err := c.Conn.Read(buf[:]); err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}
