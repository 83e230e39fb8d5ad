package serverpool

import (
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// Acquaintances are servers that have given nothing yet, but have said no at times,
// so that their yes can be believed. Where strangers' promises are often broken they
// are asked before more of these: to replace a server, and when one is missing.
// Those that answer queries sooner are asked more often, since no request is
// answered sooner than a packet makes its way.
//
// Where servers are dialed unasked they are those that were there, but full: of
// strangers some are gone.

const (
	// maxAcquaintances bounds how many there are; the latest count. More can be
	// asked at once, fewer are asked less often in vain.
	maxAcquaintances = 256
	// acquaintanceRest is how long one is not asked again. More asks fewer twice for
	// nothing, less can ask more at once.
	acquaintanceRest = 2 * time.Minute
	// blindRest is the same where servers are dialed unasked, which costs more.
	blindRest = 15 * time.Minute
	// nearest is the round trip that nothing is gained below.
	nearest = time.Millisecond
)

// nearness is how often an acquaintance is asked, relative to others: the inverse
// square of the round trip.
func nearness(rtt time.Duration) uint64 {
	far := float64(max(rtt, nearest)) / float64(queryTimeout)
	return uint64(max(1/(far*far), 1))
}

// meet takes a node in as an acquaintance or ceases to know it, after something was
// learned of it. It has to be called in an operation of the node.
func (p *ServerPool) meet(op nodestate.Op, n *enode.Node) {
	id, state, rest := n.ID(), op.Machine().GetState(n), acquaintanceRest
	p.mu.Lock()
	if p.blindLocked() {
		rest = blindRest
	}
	c, _ := p.mu.conducts.get(id)
	meets := p.isWorthMeetingLocked(&c) && state.HasNone(p.st.hasValue)
	var pushedOut *enode.Node
	if list := p.mu.acquaintances; meets {
		if list.len() == maxAcquaintances && list.get(id) == nil {
			pushedOut = op.Machine().GetNode(list.first())
			list.remove(list.first())
		}
		list.latest(id)
	} else {
		list.remove(id)
	}
	p.mu.Unlock()
	if meets {
		p.st.nearness.SetIn(op, n, nearness(c.rtt))
		op.SetState(n, p.st.resting, none, rest)
		op.SetState(n, p.st.acquainted, none, 0)
	} else if !state.HasNone(p.st.acquainted) {
		p.part(op, n)
	}
	if pushedOut != nil {
		p.part(op, pushedOut)
	}
}

// isWorthMeetingLocked tells whether a server without value is an acquaintance.
func (p *ServerPool) isWorthMeetingLocked(c *conduct) bool {
	if p.blindLocked() {
		return c.refused
	}
	return c.no > 0 && !c.mute() && c.trust(&p.mu.strangers) >= barReplace
}

func (p *ServerPool) part(op nodestate.Op, n *enode.Node) {
	p.st.nearness.ClearIn(op, n)
	op.SetState(n, none, p.st.acquainted.Or(p.st.resting), 0)
}

// acquaintances is the supply of them.
type acquaintances struct {
	*WrsIterator
	pool *ServerPool
}

func (acquaintances) start() {}

func (a acquaintances) ready() bool { return a.len() > 0 }

func (a acquaintances) take() (offer, bool) {
	if a.pool.inHurry() {
		return offer{}, false
	}
	n := a.pick()
	return offer{node: n}, n != nil
}

// inHurry tells whether the pool takes whoever comes first.
func (p *ServerPool) inHurry() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hurryLocked()
}
