package serverpool

import (
	"net"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// How much the pool needs a server now, and what follows from it: how many
// candidates are tried, in which way, and which promises are good enough. The rules
// are in verdict.go; here they meet the pool.

// setNeeded is called when the first reader of the output begins to wait, and
// when none waits any more.
func (p *ServerPool) setNeeded(needed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.needed = needed
	p.retargetLocked()
}

// searchingLocked tells whether candidates are looked for in order to replace a
// server, and nobody waits for one.
func (p *ServerPool) searchingLocked() bool {
	return p.ask != nil && !p.mu.needed && p.mu.replacing.isSet && (p.mu.path4.works() || p.mu.path6.works())
}

// demandLocked returns how much a server is needed.
func (p *ServerPool) demandLocked(now mclock.AbsTime) demand {
	return demand{
		missing: p.missingLocked(),
		since:   now.Sub(p.mu.shortSince),
		idle:    now.Sub(max(p.mu.lastGiven, p.mu.shortSince)),
		replace: p.searchingLocked(),
		hurry:   p.hurryLocked(),
	}
}

// missingLocked returns how many servers are wanted and not on their way.
func (p *ServerPool) missingLocked() int {
	return p.cfg.Wanted - len(p.mu.sessions) - len(p.mu.dials)
}

// hurryLocked tells whether the pool takes whoever comes first: there have not been
// enough servers yet, or there is none.
func (p *ServerPool) hurryLocked() bool { return !p.mu.hadEnough || len(p.mu.sessions) == 0 }

func (p *ServerPool) retargetLocked() {
	target, direct := 0, 0
	switch {
	case !p.mu.needed && !p.searchingLocked():
	case p.ask == nil:
		target = 1
	case p.searchingLocked():
		target = minQueries
	case !p.hurryLocked() && p.missingLocked() <= 1:
		target, direct = minQueries, 1
	default:
		target, direct = p.mu.limit.limit(), 1
	}
	p.fill.SetTarget(target)
	if p.direct != nil {
		p.direct.SetTarget(direct)
	}
}

// choosyLocked tells whether the pool has time, and servers enough to ask, to leave
// out those whose promise it would not believe yet.
func (p *ServerPool) choosyLocked(now mclock.AbsTime) bool {
	return p.ask != nil && p.mu.sayNo >= enoughSayNo && p.demandLocked(now).isChoosy()
}

// dubiousLocked tells whether a yes of a node would not be enough for barOne, or
// none can be expected.
func (p *ServerPool) dubiousLocked(n *enode.Node) bool {
	c, _ := p.mu.conducts.get(n.ID())
	return c.mute() || c.trust(&p.mu.strangers) < barOne
}

// queryPause returns how long the next candidate has to wait.
func (p *ServerPool) queryPause(now mclock.AbsTime) time.Duration {
	if p.ask == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := p.mu.bucket.wait(now)
	if p.searchingLocked() {
		pause = max(pause, p.mu.search.wait(now))
	}
	return pause
}

// approachLocked tells how to try a candidate with the given address: by a query, or
// else by a dial. It counts against the rates of both.
func (p *ServerPool) approachLocked(n *enode.Node, ip net.IP, trusted bool, now mclock.AbsTime) (ask bool) {
	if p.ask == nil || trusted {
		return false
	}
	p.mu.bucket.take(now)
	if p.searchingLocked() {
		p.mu.search.take(now)
	}
	c, _ := p.mu.conducts.get(n.ID())
	switch {
	case !p.pathLocked(ip).ask(now):
	case c.mute() && p.mu.needed && p.demandLocked(now).idle >= patient && p.mu.mutes.wait(now) == 0:
		p.mu.mutes.take(now)
	default:
		return true
	}
	if c.promised {
		c.promised = false // this dial is not about it
		p.mu.conducts.put(n.ID(), c)
	}
	return false
}

// pathLocked returns the path to an address, which differs between IPv4 and IPv6.
func (p *ServerPool) pathLocked(ip net.IP) *path {
	if ip != nil && ip.To4() == nil {
		return &p.mu.path6
	}
	return &p.mu.path4
}

// believeLocked takes an answer into account and tells what to do about it: again is
// to ask once more, ok that the server may be dialed.
func (p *ServerPool) believeLocked(n *enode.Node, answer Answer) (again, ok bool) {
	if answer == Unasked {
		return false, true
	}
	now := p.clock.Now()
	p.pathLocked(n.IP()).hear(answer, now)
	if answer == Silent {
		p.mu.ownNet.nothing()
	} else {
		p.mu.ownNet.reacted()
	}
	c, _ := p.mu.conducts.get(n.ID())
	if c.no == 0 && answer == No {
		p.mu.sayNo++
	}
	c.hear(answer)
	if q := p.mu.queries[n.ID()]; q != nil && (answer == Yes || answer == No) {
		c.answeredAfter(now.Sub(q.began))
	}
	c.at, c.heard = p.unixNow(), now
	p.mu.conducts.put(n.ID(), c)
	switch answer {
	case Yes:
		return false, c.trust(&p.mu.strangers) >= p.demandLocked(now).bar(&p.mu.strangers)
	case Silent:
		// Once it has answered: likely a packet was lost.
		wanted := p.mu.needed || p.searchingLocked()
		return c.answered && c.silent == 1 && wanted && p.mu.bucket.wait(now) == 0, false
	}
	return false, false
}

// promised tells whether a server's last answer was a yes that is not decided
// yet.
func (p *ServerPool) promised(id enode.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, _ := p.mu.conducts.get(id)
	return c.promised
}

// blindLocked tells whether servers are dialed unasked.
func (p *ServerPool) blindLocked() bool {
	path4, path6 := &p.mu.path4, &p.mu.path6
	return p.ask == nil || (path4.isDead || path6.isDead) && !path4.works() && !path6.works()
}

// foundFull takes into account that a server refused a dial: one that was not asked,
// and was there, had no room.
func (p *ServerPool) foundFull(id enode.ID, d *dial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.promised || !p.blindLocked() {
		return
	}
	c, _ := p.mu.conducts.get(id)
	if c.refused = d.reached; c.refused {
		c.answeredAfter(d.took)
	}
	c.at = p.unixNow()
	p.mu.conducts.put(id, c)
}

// dialDecides takes into account what became of a dial.
func (p *ServerPool) dialDecides(id enode.ID, kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.mu.conducts.get(id)
	if !ok {
		return
	}
	stranger := c.stranger()
	if !c.outcome(kept) {
		return
	}
	if stranger {
		p.mu.strangers.outcome(kept)
	}
	c.at = p.unixNow()
	p.mu.conducts.put(id, c)
}
