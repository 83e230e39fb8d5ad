package server

import (
	"container/heap"
	"math"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

const (
	// freshness is how old the worth may be by which a client is judged when
	// another one wants its place. Larger, decisions cost less, and who has just
	// spent much stays for longer than it should.
	freshness = time.Second

	// tolerance is by what share of its tokens, one in so many, the worth of a
	// member may be off beside that. Smaller, fewer have to be put in order again
	// each second, and who has nearly as many tokens as another may go for it.
	tolerance = 1024

	// earlyShare is by how much, one in so many, the time at which tokens should
	// run out is anticipated when it is far off, as requests bring it nearer.
	// Larger, looking costs more, and changes of the alarm are rarer.
	earlyShare = 8

	// decayStep is when a last token is looked at again that has just begun to
	// decay, which takes a while to show. Larger, it costs less, and who has none
	// left keeps its rights for longer.
	decayStep = time.Millisecond

	// longAgo is before all times that are looked at.
	longAgo = mclock.AbsTime(math.MinInt64 / 2)
)

// core is the pool without locks, timers and I/O: the clients, their balances and
// the market, and the rules that tie them together. Every method takes the time,
// which does not go back; what peers are to be told is left in events, and wake
// says when the core wants to be called again.
//
// A client is active if it has capacity, and waits for it otherwise. Who waits
// without tokens has a time limit; who was told to go does not wait any more.
type core struct {
	minCap  uint64
	bias    time.Duration
	prices  prices // of clients to come
	metrics Metrics

	clients map[enode.ID]*client
	market  *market
	waiters order // by the highest bid for the smallest capacity
	ages    ages
	alarms  alarms
	ledger  *ledger
	arrived uint64 // number of clients that ever were

	looked     mclock.AbsTime // when the waiters were last compared with the members
	allCharged mclock.AbsTime // when all clients were last charged
	asked      *client        // whose request causes the present changes
	events     []event
}

// event is a callback that a peer is due.
type event struct {
	to         *client
	capacity   uint64
	requested  bool
	disconnect bool
}

// charge takes what a client owes for the time until now. It has to be called
// before anything changes that the price depends on.
func (k *core) charge(c *client, now mclock.AbsTime) {
	span := now.Sub(c.charged)
	if span <= 0 {
		return
	}
	if c.told > 0 {
		tokens, debt := c.tokens.ExpiredValue, c.debt.ExpiredValue
		cost := [2]float64{c.prices.pos.perNs(c.told, 0), c.prices.neg.perNs(c.told, 0)}
		middle := c.charged.Add(span / 2)
		chargeTime(&c.tokens.balance, &c.debt.balance, span, cost, k.ledger.at(middle))
		k.ledger.changed(c.tokens, tokens)
		k.ledger.changed(c.debt, debt)
	}
	c.charged = now
}

// worthNow returns what a client is worth that is charged until now.
func (k *core) worthNow(tokens, debt *record, p prices, now mclock.AbsTime) worth {
	at := k.ledger.at(now)
	return worth{pos: tokens.amount(at.pos), neg: debt.amount(at.neg), prices: p}
}

// value charges a client and lets everything know what it is worth now.
func (k *core) value(c *client, now mclock.AbsTime) {
	k.charge(c, now)
	w := k.worthNow(c.tokens, c.debt, c.prices, now)
	if w.pos == 0 && !c.tokens.IsZero() { // it decayed to less than one token
		before := c.tokens.ExpiredValue
		c.tokens.clear()
		k.ledger.changed(c.tokens, before)
	}
	k.ages.remove(c)
	c.valued = now
	k.ages.push(c)
	k.appraise(c, w, now)
	c.runsOut = farFuture
	if c.paying {
		c.runsOut = k.lookAgain(c, now)
	}
	k.setAlarm(c)
}

// appraise sets what follows from a client's worth: the rights of who has tokens,
// and the place in the order of members or waiters.
func (k *core) appraise(c *client, w worth, now mclock.AbsTime) {
	paying := w.pos > 0
	lost := c.paying && !paying
	c.paying = paying
	if c.capacity == 0 {
		c.worth = w
		switch {
		case paying:
			c.expires = farFuture
		case lost:
			k.limitTime(c, now)
		}
		k.wait(c)
		return
	}
	k.market.revalue(&c.member, w)
	if !paying && c.capacity > k.minCap {
		k.market.resize(&c.member, k.minCap)
	}
}

// lookAgain returns when to look whether a client with tokens has any left.
func (k *core) lookAgain(c *client, now mclock.AbsTime) mclock.AbsTime {
	price := 0.0
	if c.told > 0 {
		price = c.prices.pos.perNs(c.told, 0)
	}
	left := c.tokens.exact(k.ledger.at(now).pos)
	span := duration(timeToFall(left, 0, price, k.ledger.pos.rate))
	if span > time.Second && span != never {
		span -= (span - time.Second) / earlyShare
	}
	if span <= 0 {
		span = max(min(decayStep, duration(left/price)), 1)
	}
	return later(now, span)
}

// setAlarm puts a client where its alarm belongs.
func (k *core) setAlarm(c *client) {
	c.alarm = min(c.runsOut, c.expires)
	switch {
	case c.alarm == farFuture && c.index >= 0:
		heap.Remove(&k.alarms, c.index)
	case c.alarm == farFuture:
	case c.index < 0:
		heap.Push(&k.alarms, c)
	default:
		heap.Fix(&k.alarms, c.index)
	}
}

// wait gives a client that is not active its place among the waiters.
func (k *core) wait(c *client) {
	if c.gone || c.left {
		return
	}
	bid := -k.bidder(c.worth, k.bias)(k.minCap)
	if c.waiting {
		if c.bid.key == bid {
			return
		}
		k.waiters.remove(&c.bid)
	}
	c.waiting = true
	c.bid = place{key: bid, tie: c.seq, owner: &c.member}
	k.waiters.insert(&c.bid)
}

func (k *core) stopWaiting(c *client) {
	if c.waiting {
		c.waiting = false
		k.waiters.remove(&c.bid)
	}
}

// limitTime starts the time that a client without tokens may stay inactive.
func (k *core) limitTime(c *client, now mclock.AbsTime) {
	if !c.paying && !c.gone && !c.left && c.expires == farFuture {
		c.expires = later(now, c.allowance)
		k.setAlarm(c)
	}
}

// bidder returns what somebody offers with a handicap.
func (k *core) bidder(w worth, bias time.Duration) bidder {
	o := outlook{bias: max(bias, k.bias)}
	return func(capacity uint64) int64 { return w.estimate(capacity, o) }
}

// apply carries out what the market has decided, until nothing changes any more.
func (k *core) apply(now mclock.AbsTime) {
	for {
		changes := k.market.changes()
		if len(changes) == 0 {
			k.showCounts()
			return
		}
		for _, m := range changes {
			if c := m.client; c.capacity != c.told {
				k.applyTo(c, now)
			}
		}
	}
}

func (k *core) applyTo(c *client, now mclock.AbsTime) {
	k.charge(c, now)
	before := c.told
	c.told = c.capacity
	switch {
	case before == 0:
		k.metrics.Activated.Mark(1)
		k.stopWaiting(c)
		c.expires = farFuture
	case c.told == 0:
		k.metrics.Deactivated.Mark(1)
		k.limitTime(c, now)
	}
	if c.left {
		return
	}
	k.events = append(k.events, event{to: c, capacity: c.told, requested: c == k.asked})
	k.value(c, now)
}

// refresh looks at all clients whose worth is known from too long ago.
func (k *core) refresh(now mclock.AbsTime) {
	for c := k.ages.oldest; c != nil && now.Sub(c.valued) >= freshness; c = k.ages.oldest {
		if !k.unchanged(c, now) {
			k.value(c, now)
		}
	}
	k.apply(now)
}

// unchanged tells whether a member with tokens has about as many as when it was
// valued. Then it is as good as valued now.
func (k *core) unchanged(c *client, now mclock.AbsTime) bool {
	if !c.paying || c.capacity == 0 {
		return false
	}
	k.charge(c, now)
	pos, known := c.tokens.amount(k.ledger.at(now).pos), c.worth.pos
	if max(pos, known)-min(pos, known) > known/tolerance || pos == 0 {
		return false
	}
	k.ages.remove(c)
	c.valued = now
	k.ages.push(c)
	return true
}

// fill lets those in who wait and can be let in, the best first. If the best can't
// be, none can.
func (k *core) fill(now mclock.AbsTime) {
	k.looked = now
	for best := k.waiters.first(); best != nil; best = k.waiters.first() {
		c := best.owner.client
		if !k.market.admits(func(uint64) int64 { return -best.key }) {
			return
		}
		k.stopWaiting(c)
		k.market.enter(&c.member, c.worth)
		k.apply(now)
	}
}

// revalueAll looks at everybody anew, after a change that nobody's alarm knows of.
func (k *core) revalueAll(now mclock.AbsTime) {
	for range k.clients {
		k.value(k.ages.oldest, now)
	}
	k.apply(now)
	k.fill(now)
}

// advance does what is due.
func (k *core) advance(now mclock.AbsTime) {
	for len(k.alarms) > 0 && k.alarms[0].alarm <= now {
		c := k.alarms[0]
		if c.expires <= now {
			c.expires, c.gone = farFuture, true
			k.stopWaiting(c)
			k.events = append(k.events, event{to: c, disconnect: true})
		}
		k.value(c, now)
	}
	k.apply(now)
	if k.waiters.size > 0 {
		k.refresh(now)
		k.fill(now)
	}
}

// prepare brings everything up to date for a decision. The decision is the same
// for everybody who asks at this time.
func (k *core) prepare(now mclock.AbsTime) {
	k.advance(now)
	k.refresh(now)
	k.fill(now)
}

// reconsider is called after a client's balance or prices have changed.
func (k *core) reconsider(c *client, now mclock.AbsTime) {
	k.value(c, now)
	k.apply(now)
	k.fill(now)
}

// wake returns when advance should be called, farFuture if no time is known.
func (k *core) wake() mclock.AbsTime {
	at := farFuture
	if len(k.alarms) > 0 {
		at = k.alarms[0].alarm
	}
	if k.waiters.size > 0 {
		at = min(at, later(k.looked, freshness))
	}
	return at
}

func (k *core) showCounts() {
	k.metrics.ActiveCapacity.Update(int64(k.market.capacity))
	k.metrics.ActiveCount.Update(int64(k.market.count))
	k.metrics.InactiveCount.Update(int64(len(k.clients)) - int64(k.market.count))
}
