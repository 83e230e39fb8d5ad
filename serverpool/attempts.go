package serverpool

import (
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// The end of an attempt to use a server: what it costs, how long the server is left
// alone, and what is remembered of it.

// endAttempt charges a server for an attempt and leaves it alone for a while,
// the longer the less it was worth. It returns what it was worth.
func (p *ServerPool) endAttempt(op nodestate.Op, n *enode.Node, a attempt) service {
	now := p.unixNow()
	h := p.historyOf(n)
	p.mu.Lock()
	down := p.mu.ownNet.down(len(p.mu.sessions))
	p.mu.Unlock()
	if down { // not the server's fault
		p.leaveAlone(op, n, p.jitter(minRedialWait*time.Second))
		return service{}
	}
	h.dialCost.Add(int64(a.cost), p.logOffset())
	s := p.serviceOf(n, h)
	wait := max(h.nextWait(now, a.step, s), int64(a.least/time.Second))
	if wait > maxKnownWait {
		s.total = 0 // as good as gone
		p.st.localAddress.ClearIn(op, n)
	}
	if known := p.setWeight(op, n, h, s); !known {
		wait = min(wait, maxValuelessWait)
	}
	h.waitStart, h.waitEnd, h.until = now, now+wait, 0
	p.setHistory(op, n, h)
	p.leaveAlone(op, n, p.jitter(time.Duration(wait)*time.Second))
	return s
}

// endSession is endAttempt for a server that was connected.
func (p *ServerPool) endSession(op nodestate.Op, n *enode.Node) service {
	a := attemptDial
	a.least = p.sessionEnds(n.ID())
	return p.endAttempt(op, n, a)
}

func (p *ServerPool) jitter(d time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return d + time.Duration(p.mu.rnd.Float64()*redialJitter*float64(d))
}

// leaveAlone keeps a node out of the dial process for some time, at least
// until it may be given out again.
func (p *ServerPool) leaveAlone(op nodestate.Op, n *enode.Node, d time.Duration) {
	d = max(d, p.historyOf(n).untilGivenAgain(p.clock.Now(), p.cfg.MinRedial), 1) // 0 would be for ever
	op.SetState(n, p.st.redialWait, p.st.underWay.Or(p.st.dialTimeout), d)
}

// historyOf returns what is remembered of a node.
func (p *ServerPool) historyOf(n *enode.Node) history {
	if h, ok := p.st.history.Get(p.ns, n); ok {
		return h
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h, _ := p.mu.memory.historyOf(n)
	return h
}

// setHistory keeps the history of a node, which for nodes without value has to
// outlive their time in the state machine.
func (p *ServerPool) setHistory(op nodestate.Op, n *enode.Node, h history) {
	p.st.history.SetIn(op, n, h)
	id := n.ID()
	known := op.Machine().GetState(n).HasAll(p.st.hasValue)
	if !known && h.waitEnd == 0 {
		return // nothing is worth remembering
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known {
		p.mu.memory.remove(id)
	} else {
		// n may bear a local address, the machine's record does not.
		p.mu.memory.remember(op.Machine().GetNode(id), h)
	}
}

// setWeight keeps the chance of a server to be chosen and tells whether it is
// worth knowing.
func (p *ServerPool) setWeight(op nodestate.Op, n *enode.Node, h history, s service) (known bool) {
	w := s.weight()
	if w < minWeight || h.inbound && op.Machine().GetNode(n.ID()).Seq() == 0 {
		p.st.weight.ClearIn(op, n)
		op.SetState(n, none, p.st.hasValue, 0)
		return false
	}
	op.SetState(n, p.st.hasValue, none, 0)
	p.st.weight.SetIn(op, n, w)
	return true
}
