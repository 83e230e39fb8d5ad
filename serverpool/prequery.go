package serverpool

import (
	"context"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// Queries are made while somebody waits for a candidate, as many at a time as
// queryLimit says and as often as the token bucket allows.

const (
	// queryTimeout is when a query that has not returned counts as silence. The
	// slowest honest one fetches the record first and repeats a lost packet.
	queryTimeout = 5 * time.Second
	// maxCalls bounds the calls of a query function that does not return.
	// Beyond it servers are dialed unasked.
	maxCalls = 2 * maxQueries
	// warnSilence is how many silent servers in a row are worth a warning.
	warnSilence = 20
)

// pendingQuery is a query under way.
type pendingQuery struct {
	cancel context.CancelFunc
	began  mclock.AbsTime
}

func (p *ServerPool) startQuery(op nodestate.Op, n *enode.Node) {
	ctx, cancel := context.WithCancel(p.ctx)
	q := &pendingQuery{cancel, p.clock.Now()}
	p.mu.Lock()
	p.mu.queries[n.ID()] = q
	stuck := p.mu.calls >= maxCalls
	warn := stuck && !p.mu.counts.stuck
	p.mu.counts.stuck = stuck
	if !stuck {
		p.mu.calls++
		p.mu.counts.asked++
		p.tellAskedLocked(n)
	}
	p.mu.Unlock()
	if warn {
		p.log.Error("Queries do not return, servers are dialed unasked", "calls", maxCalls)
	}
	if stuck {
		p.answered(op, n, Unasked)
		return
	}
	p.ask(ctx, n, func(answer Answer) { p.queryReturned(q, n, answer) })
}

// queryReturned hands in the answer, unless it comes too late.
func (p *ServerPool) queryReturned(q *pendingQuery, n *enode.Node, answer Answer) {
	q.cancel()
	p.mu.Lock()
	p.mu.calls--
	p.mu.Unlock()
	p.ns.Operation(func(op nodestate.Op) {
		p.mu.Lock()
		current := p.mu.queries[n.ID()] == q
		p.mu.Unlock()
		if current {
			p.answered(op, n, answer)
		}
	})
}

// askInBackground is how a pool asks, unless an event loop drives it. It calls
// the application's function, whatever that does.
func (p *ServerPool) askInBackground(ctx context.Context, n *enode.Node, answered func(Answer)) {
	p.calls.run(func() {
		answer := Silent
		defer func() {
			if v := recover(); v != nil {
				p.log.Error("Query panicked", "id", n.ID(), "panic", v)
			}
			answered(answer)
		}()
		answer = p.cfg.Query(ctx, n)
	})
}

func (p *ServerPool) endQuery(id enode.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.mu.queries[id]; q != nil {
		q.cancel()
		delete(p.mu.queries, id)
	}
}

// countAnswerLocked learns from the outcome of a query. believed tells whether a yes
// was good enough.
func (p *ServerPool) countAnswerLocked(answer Answer, believed bool) {
	c := &p.mu.counts
	switch answer {
	case Yes:
		c.saidYes++
		c.silentInRow = 0
		if believed {
			p.mu.limit.found()
		} else {
			p.mu.limit.lost()
		}
	case No:
		c.saidNo++
		c.silentInRow = 0
		p.mu.limit.lost()
	case Unasked:
		c.unasked++
	default:
		c.silent++
		c.silentInRow++
		p.mu.limit.lost()
		if c.silentInRow%warnSilence == 0 {
			p.log.Warn("Servers do not answer queries", "inRow", c.silentInRow)
		}
	}
	p.retargetLocked()
}
