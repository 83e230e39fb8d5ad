package server

import (
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// connect takes in a client. Whether it is active is decided when it returns.
func (k *core) connect(c *client, now mclock.AbsTime) {
	k.prepare(now)
	k.arrived++
	c.client, c.seq, c.index = c, k.arrived, -1
	c.prices, c.since, c.charged = k.prices, now, now
	c.runsOut, c.expires = farFuture, farFuture
	k.clients[c.id] = c
	k.ages.push(c)
	k.metrics.Connected.Mark(1)
	k.reconsider(c, now)
	if c.capacity == 0 {
		k.limitTime(c, now)
	}
	k.showCounts()
}

// disconnect forgets a client and gives what it had to others.
func (k *core) disconnect(c *client, now mclock.AbsTime) {
	c.left = true
	k.stopWaiting(c)
	if c.capacity > 0 {
		k.market.leave(&c.member)
	}
	k.apply(now)
	k.ages.remove(c)
	c.runsOut, c.expires = farFuture, farFuture
	k.setAlarm(c)
	delete(k.clients, c.id)
	k.ledger.release(c.tokens)
	k.ledger.release(c.debt)
	k.metrics.Disconnected.Mark(1)
	k.prepare(now)
	k.showCounts()
}

// capacityRequest is what a client, or its server, wants for it.
type capacityRequest struct {
	capacity  uint64
	bias      time.Duration
	requested bool // by the client
}

// setCapacity gives a client another capacity, all that is asked for or nothing.
func (k *core) setCapacity(id enode.ID, r capacityRequest, now mclock.AbsTime) (uint64, error) {
	k.prepare(now)
	c := k.clients[id]
	if c == nil {
		return 0, ErrNotConnected
	}
	k.reconsider(c, now)
	want := max(r.capacity, k.minCap)
	switch {
	case c.capacity == 0:
		return 0, nil
	case want > k.minCap && !c.paying:
		return c.capacity, ErrNoPriority
	case want == c.capacity, want > c.capacity && want > k.most(c, c.worth, r.bias):
		return c.capacity, nil
	}
	if r.requested {
		k.asked = c
	}
	k.market.resize(&c.member, want)
	k.apply(now)
	k.asked = nil
	k.fill(now)
	return c.capacity, nil
}

// most returns the largest capacity that a client, nil if it is not connected,
// could have if it were worth w.
func (k *core) most(c *client, w worth, bias time.Duration) uint64 {
	rival := k.rivalOf(c)
	if c == nil {
		return k.market.most(nil, k.bidder(w, bias), rival != nil)
	}
	limit := k.market.most(&c.member, k.bidder(w, bias), rival != nil)
	if c.capacity > 0 && rival != nil && k.market.count < k.market.maxCount {
		// Too little is free for who waits. A member that took it could be worth
		// less then, and lose more to them at once.
		limit = largest(c.capacity, limit, -rival.key-1, w.priority)
	}
	return limit
}

// rivalOf returns the best of those who wait beside a client, nil if there is none.
func (k *core) rivalOf(c *client) *place {
	best := k.waiters.first()
	if c != nil && best == &c.bid {
		best, _, _ = k.waiters.search(func(p *place, _ uint64) bool { return c.bid.before(p) })
	}
	return best
}

// asker is a node with the balances that it has if it is not connected.
type asker struct {
	id           enode.ID
	tokens, debt *record
}

// query returns what a client would get with each of the numbers of tokens added
// to those it has.
func (k *core) query(a asker, bias time.Duration, amounts []int64, now mclock.AbsTime) []uint64 {
	k.prepare(now)
	c, p := k.clients[a.id], k.prices
	if c != nil && c.gone { // what it may get it gets by coming back
		a.tokens, a.debt, c = c.tokens, c.debt, nil
	}
	if c != nil {
		k.reconsider(c, now)
		a.tokens, a.debt, p = c.tokens, c.debt, c.prices
	}
	w := k.worthNow(a.tokens, a.debt, p, now)
	results := make([]uint64, len(amounts))
	for i, amount := range amounts {
		w.pos = a.tokens.with(amount, k.ledger.at(now).pos)
		results[i] = k.offerTo(c, w, bias, amount < 0)
	}
	return results
}

// offerTo returns what a client, nil if it is not connected, would get if it were
// worth w from now on. less tells that this may be less than what it is worth.
func (k *core) offerTo(c *client, w worth, bias time.Duration, less bool) uint64 {
	limit := k.most(c, w, bias)
	if w.pos == 0 {
		limit = min(limit, k.minCap)
	}
	if best := k.waiters.first(); less && c != nil && c.capacity > 0 && best != nil {
		// Then those who wait come first.
		if bid := -best.key; bid > w.priority(k.minCap) {
			return 0
		} else if bid > w.priority(c.capacity) {
			return k.minCap
		}
	}
	return limit
}

// serve charges a client for a request and returns the tokens it has then.
func (k *core) serve(c *client, cost uint64, now mclock.AbsTime) uint64 {
	k.charge(c, now)
	tokens, debt := c.tokens.ExpiredValue, c.debt.ExpiredValue
	at := k.ledger.at(now)
	chargeRequest(&c.tokens.balance, &c.debt.balance, float64(cost), c.prices, at)
	k.ledger.changed(c.tokens, tokens)
	k.ledger.changed(c.debt, debt)
	c.requests += float64(cost)
	w := k.worthNow(c.tokens, c.debt, c.prices, now)
	if c.paying && w.pos == 0 {
		k.value(c, now)
		k.apply(now)
		k.looked = longAgo // those who wait are due
	} else if at := k.lookAgain(c, now); c.paying && at < c.runsOut {
		c.runsOut = at
		k.setAlarm(c)
	}
	return w.pos
}

// setLimits changes the limits of the pool.
func (k *core) setLimits(maxCount, maxCap uint64, now mclock.AbsTime) {
	k.prepare(now)
	k.market.setLimits(maxCount, maxCap)
	k.apply(now)
	k.fill(now)
}

// setBias changes the handicap of outsiders.
func (k *core) setBias(bias time.Duration, now mclock.AbsTime) {
	k.bias = max(bias, 0)
	for c := k.ages.oldest; c != nil; c = c.newer {
		if c.waiting {
			k.wait(c)
		}
	}
	k.prepare(now)
}
