package serverpool

import (
	"errors"
	"net"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// This file is the life of a node, in the order of the diagram in the package
// comment. Functions that take an Op run inside an operation.

// Reasons why a node is no candidate.
var (
	errNoNode   = errors.New("nil node")
	errNoPort   = errors.New("no TCP port")
	errBusy     = errors.New("in the dial process already")
	errOwnTurn  = errors.New("known or trusted, has a source of its own")
	errWaiting  = errors.New("waits for its redial time")
	errBanned   = errors.New("banned")
	errCrowded  = errors.New("too many nodes of its network")
	errPanicked = errors.New("Accept panicked")
	errNoBetter = errors.New("not likely to be better than those connected")
)

const (
	// canDialTimeout is how long a candidate waits to be given out. More uses
	// older answers, which may have become untrue.
	canDialTimeout = 10 * time.Second
	// takeTimeout is how long a node that was given out may wait for its dial,
	// where the pool sees dials.
	takeTimeout = 10 * time.Second
	// dialTimeout is how long a dial may take, and then the handshakes. It has
	// to be longer than the 15 s that p2p gives to the dial.
	dialTimeout = 16 * time.Second
	// blindTimeout bounds all of these where the pool does not see dials.
	blindTimeout = 30 * time.Second
)

// onLoaded takes up a known server again at Start.
func (p *ServerPool) onLoaded(op nodestate.Op, n *enode.Node, oldState, newState nodestate.Flags) {
	if !oldState.HasAll(p.st.offline) || !newState.HasAll(p.st.hasValue) {
		return
	}
	p.mu.Lock()
	p.mu.counts.restored++
	p.mu.Unlock()
	p.rememberGiven(n)
	h := p.historyOf(n)
	if known := p.setWeight(op, n, h, p.serviceOf(n, h)); !known {
		p.setHistory(op, n, h)
	}
	if wait := h.remaining(p.unixNow()); wait > 0 && !h.isMinimal() {
		p.leaveAlone(op, n, wait)
	}
}

// admit takes a node from a source and makes it a candidate if it can be one.
// It is the one filter that every source goes through. The turn of known and trusted
// servers is not changed by how often they are discovered.
func (p *ServerPool) admit(o offer) bool {
	n := o.node
	if n == nil {
		p.count(func(c *counts) { c.turnAway(errNoNode) })
		return false
	}
	ip := n.IP() // once: to look it up takes some time
	reason := p.check(o, ip)
	err := p.ns.Operation(func(op nodestate.Op) {
		state := op.Machine().GetState(n)
		if o.source != "" && !state.HasNone(p.st.hasValue.Or(p.st.alwaysConnect)) {
			reason = errOwnTurn
		}
		if reason == nil {
			reason = p.enter(op, n, ip, state)
		}
		if reason != nil {
			p.turnAway(op, n, reason)
		}
	})
	return err == nil && reason == nil
}

// enter makes a node with the given address and state a candidate, or tells why it
// cannot be one now.
func (p *ServerPool) enter(op nodestate.Op, n *enode.Node, ip net.IP, state nodestate.Flags) error {
	ask, err := p.tryEnter(op, n, ip, state)
	if err != nil {
		return err
	}
	if h := p.historyOf(n); h != (history{}) {
		p.setHistory(op, n, h)
	}
	if ask {
		op.SetState(n, p.st.query, none, queryTimeout)
	} else {
		op.SetState(n, p.st.canDial, none, canDialTimeout)
	}
	return nil
}

// tryEnter is enter as far as the machine has nothing to do with it; ask tells that
// the node is to be asked.
func (p *ServerPool) tryEnter(op nodestate.Op, n *enode.Node, ip net.IP, state nodestate.Flags) (ask bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkStateLocked(op, n, ip, state); err != nil {
		return false, err
	}
	now := p.clock.Now()
	p.mu.lastUsable = now
	ask = p.approachLocked(n, ip, state.HasAll(p.st.alwaysConnect), now)
	if !ask {
		p.mu.notes.set(n.ID(), outcomeCandidate, "")
	}
	return ask, nil
}

// checkStateLocked tells why a node cannot be a candidate now.
func (p *ServerPool) checkStateLocked(op nodestate.Op, n *enode.Node, ip net.IP, state nodestate.Flags) error {
	if !state.HasNone(p.st.underWay) {
		return errBusy
	}
	now := p.clock.Now()
	if _, ok := p.mu.bans.active(n.ID(), now); ok && state.HasNone(p.st.alwaysConnect) {
		return errBanned
	}
	if state.HasAll(p.st.redialWait) && !p.startsAnewLocked(op, n, state, now) {
		return errBusy
	}
	if h, ok := p.mu.memory.historyOf(n); ok && now < h.until {
		return errWaiting
	}
	if state.HasAll(p.st.alwaysConnect) {
		p.mu.netCap.force(n.ID(), n.IP)
		return nil
	}
	if p.searchingLocked() && !p.mayReplaceLocked(n) {
		return errNoBetter
	}
	if p.gaveTooLittleLocked(n, now) {
		return errNoBetter
	}
	if p.choosyLocked(now) && p.dubiousLocked(n) && state.HasNone(p.st.hasValue) {
		return errBusy
	}
	short := len(p.mu.sessions)+len(p.mu.queries)+len(p.mu.dials) < p.cfg.Wanted
	ok, widened := p.mu.netCap.admit(n.ID(), ip, now, short)
	if widened > 0 {
		p.log.Warn("Too few servers of different networks, allowing more of each", "limit", widened)
	}
	if !ok {
		return errCrowded
	}
	return nil
}

// startsAnewLocked tells whether a waiting node without value has moved to
// another endpoint, so that what was learned of the old one does not hold, and
// forgets that. It is not taken up more often than any other node.
func (p *ServerPool) startsAnewLocked(op nodestate.Op, n *enode.Node, state nodestate.Flags, now mclock.AbsTime) bool {
	if state.HasAll(p.st.hasValue) || !p.mu.memory.moved(n) {
		return false
	}
	h, _ := p.st.history.Get(p.ns, n)
	if h.untilGivenAgain(now, p.cfg.MinRedial) > 0 {
		return false
	}
	p.mu.memory.remove(n.ID())
	p.mu.conducts.remove(n.ID())
	p.st.history.ClearIn(op, n)
	op.SetState(n, none, p.st.redialWait, 0)
	return true
}

// turnAway counts a node that is no candidate, and keeps its record if that is
// newer than the one known. Known and trusted servers, and acquaintances, are left
// alone for a while, or they would be offered again at once.
func (p *ServerPool) turnAway(op nodestate.Op, n *enode.Node, reason error) {
	p.count(func(c *counts) { c.turnAway(reason) })
	p.noteTurnedAway(n.ID(), reason)
	op.SetState(n, none, none, 0)
	state := op.Machine().GetState(n)
	if reason == errOwnTurn || state.HasNone(p.st.hasTurn) || !state.HasNone(p.st.inDialProcess) {
		return
	}
	wait := minRedialWait * time.Second
	switch reason {
	case errWaiting:
		wait = p.historyOf(n).until.Sub(p.clock.Now())
	case errNoBetter:
		wait = noBetterWait
	case errBanned:
		if b, ok := p.banOf(n.ID()); ok {
			wait = b.until.Sub(p.clock.Now())
		}
	}
	p.leaveAlone(op, n, wait)
}

// onQuery starts and ends the query of a candidate.
func (p *ServerPool) onQuery(op nodestate.Op, n *enode.Node, oldState, newState nodestate.Flags) {
	was, is := oldState.HasAll(p.st.query), newState.HasAll(p.st.query)
	switch {
	case is && !was:
		p.startQuery(op, n)
	case was && !is:
		p.endQuery(n.ID())
		if newState.HasNone(p.st.inDialProcess) {
			p.answered(op, n, Silent) // its time was up
		}
	}
}

// answered takes the outcome of a query.
func (p *ServerPool) answered(op nodestate.Op, n *enode.Node, answer Answer) {
	p.mu.Lock()
	again, ok := p.believeLocked(n, answer)
	p.countAnswerLocked(answer, ok)
	p.tellAnsweredLocked(n, answer, ok)
	p.mu.Unlock()
	p.meet(op, n)
	switch {
	case again:
		p.askAgain(op, n)
	case ok:
		op.SetState(n, p.st.canDial, p.st.query, canDialTimeout)
	default:
		p.endAttempt(op, n, attemptQuery)
	}
}

// askAgain repeats a query.
func (p *ServerPool) askAgain(op nodestate.Op, n *enode.Node) {
	p.mu.Lock()
	p.mu.bucket.take(p.clock.Now())
	p.mu.Unlock()
	running := op.Machine().GetState(n).HasAll(p.st.query)
	op.SetState(n, p.st.query, none, queryTimeout)
	if running {
		p.startQuery(op, n)
	}
}

// onCanDial takes back a candidate that nobody wanted in time. That is not its
// fault and costs it nothing.
func (p *ServerPool) onCanDial(op nodestate.Op, n *enode.Node, oldState, newState nodestate.Flags) {
	switch {
	case newState.HasAll(p.st.canDial) && !oldState.HasAll(p.st.canDial):
		if p.toReplace() {
			p.calls.run(p.replace)
		}
	case oldState.HasAll(p.st.canDial) && newState.HasNone(p.st.inDialProcess):
		p.note(n.ID(), outcomeUnneeded, "")
		p.leaveAlone(op, n, minRedialWait*time.Second)
	}
}

// give turns a candidate into a node that is given out; nil if it has ceased
// to be one.
func (p *ServerPool) give(n *enode.Node) (given *enode.Node) {
	p.ns.Operation(func(op nodestate.Op) {
		state := op.Machine().GetState(n)
		if !state.HasAll(p.st.canDial) {
			return
		}
		if state.HasNone(p.st.alwaysConnect) {
			p.mix.gave(state.HasAll(p.st.hasValue))
		}
		now := p.clock.Now()
		p.mu.Lock()
		p.mu.netCap.dialed(n.ID())
		p.mu.lastGiven = now
		p.mu.Unlock()
		h := p.historyOf(n)
		h.given, h.isGiven = now, true
		p.setHistory(op, n, h)
		timeout := blindTimeout
		if p.hasDialer.Load() {
			timeout = takeTimeout
		}
		p.setDialed(op, n, &dial{}, timeout)
		given = p.DialNode(n)
	})
	return given
}

// setDialed enters the dial of a node.
func (p *ServerPool) setDialed(op nodestate.Op, n *enode.Node, d *dial, timeout time.Duration) {
	p.mu.Lock()
	p.mu.dials[n.ID()] = d
	p.mu.netCap.force(n.ID(), n.IP) // it may have gone back before
	if !p.hasDialer.Load() || d.begun {
		p.mu.counts.dialed++
		p.tellDialedLocked(n)
	} else {
		p.mu.notes.set(n.ID(), outcomeGiven, "")
	}
	p.mu.Unlock()
	op.SetState(n, p.st.dialed.Or(p.st.dialTimeout), p.st.canDial.Or(p.st.redialWait), 0)
	op.AddTimeout(n, p.st.dialTimeout, timeout)
}

// onDialTimeout ends a dial that took too long.
func (p *ServerPool) onDialTimeout(op nodestate.Op, n *enode.Node, oldState, newState nodestate.Flags) {
	if !oldState.HasAll(p.st.dialTimeout) || newState.HasAll(p.st.dialTimeout) || !newState.HasAll(p.st.dialed) {
		return
	}
	p.mu.Lock()
	d := p.mu.dials[n.ID()]
	untaken := p.hasDialer.Load() && d != nil && !d.begun
	if untaken {
		p.mu.counts.returned++
		p.mu.notes.set(n.ID(), outcomeNotDialed, "")
	} else {
		p.mu.counts.timedOut++
	}
	p.mu.Unlock()
	if untaken {
		p.leaveAlone(op, n, minRedialWait*time.Second) // p2p had no use for it
	} else {
		p.tellRefused(n, outcomeTimedOut, nil)
		p.endDial(op, n)
	}
}

// endDial ends a dial that led to no connection.
func (p *ServerPool) endDial(op nodestate.Op, n *enode.Node) {
	p.st.localAddress.ClearIn(op, n)
	p.endAttempt(op, n, attemptDial)
}

// onDialed forgets the dial when the node is connected or was given up.
func (p *ServerPool) onDialed(_ nodestate.Op, n *enode.Node, _, newState nodestate.Flags) {
	if newState.HasNone(p.st.dialed) {
		p.mu.Lock()
		delete(p.mu.dials, n.ID())
		p.mu.Unlock()
	}
}

// onUnderWay frees the node's place in its network.
func (p *ServerPool) onUnderWay(_ nodestate.Op, n *enode.Node, _, newState nodestate.Flags) {
	if newState.IsEmpty() {
		p.mu.Lock()
		p.mu.netCap.remove(n.ID())
		p.mu.Unlock()
	}
}

// count changes the counters.
func (p *ServerPool) count(f func(*counts)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.mu.counts)
}
