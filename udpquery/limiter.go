package udpquery

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/lespool/lespool/internal/wrs"
)

const (
	// maxQueued is the cost of waiting requests above which the worst offenders
	// are dropped; half of it is what is left then. Larger, a burst is weathered
	// without losses; but as many handlers of the discv5 transport wait, of which
	// there are 1,024, and the memory taken grows alike.
	maxQueued = 1000

	// maxWait is how long a batch may wait. Clients give up after 700 ms, of
	// which the way there and back takes its part. Larger, more of a burst is
	// served, and more of what is served comes too late.
	maxWait = 400 * time.Millisecond

	// maxPenalized is how many dropped nodes are remembered; beyond it the oldest
	// penalty is forgiven. Larger, a flood from more nodes is kept at bay, and
	// more memory is taken.
	maxPenalized = 1000

	// rescaleEvery is the number of batches between two looks at which values are
	// around. Larger, it costs less, and the memory of a huge value that left
	// coarsens the differences between the others for longer.
	rescaleEvery = 1024

	// maxDelay bounds the configured delay, so that no sum of delays overflows.
	// It is far beyond what leaves a server usable.
	maxDelay = time.Hour
)

// limiter decides which of the waiting batches is served next. It serves one at
// a time and spaces them so that each unit of cost gets delay on average; the
// spacing lies between batches and never holds back an answer.
//
// Service alternates between two rules, such that both give out the same cost:
//   - by value: nodes in proportion to their value, whatever their address;
//   - by address: addresses equally, then the nodes of an address equally.
//
// Cheaper batches come first: the chances are inverse to the cost of the batch
// at the head of a node's queue, so that what is equal is the cost served.
//
// When too much is waiting, whole queues are dropped, from the node with the
// highest cost for its share downwards. A dropped node is penalized: until its
// turn comes, as if it waited with one batch that costs all that was dropped,
// whatever it sends is dropped and adds to that cost. The turn takes no time.
//
// The rules are those of go-ethereum v1.13.5's limiter, with these differences:
// weights are not relative to the largest cost and value ever seen; the two
// rules share cost, not numbers of batches; a penalty counts what is in service
// and outlasts it; nothing waits longer than maxWait; memory is bounded.
//
// A limiter takes the time as an argument, wants to be asked again at the time
// that wake returns, and is not safe for concurrent use.
type limiter struct {
	delay time.Duration // per unit of cost
	free  mclock.AbsTime
	rnd   *rand.Rand

	peers     map[enode.ID]*peer // those who wait or are penalized
	groups    map[groupKey]*group
	byAddress *wrs.Select[*group]
	byValue   *wrs.Select[*peer]

	waiting   []*peer // those with a queue
	penalized list[peer, *peer]
	ages      list[ticket, *ticket] // all unanswered tickets, the one in service too, oldest first
	queued    uint64                // cost of all queues, at most maxQueued between calls
	serving   *ticket               // nil or the one that next returned
	lead      int64                 // cost served by address less that served by value

	topExponent int    // binary exponent that value weights are relative to
	added       uint64 // tickets so far
}

func newLimiter(delay time.Duration, rnd *rand.Rand) *limiter {
	return &limiter{
		delay:       min(max(delay, 0), maxDelay),
		rnd:         rnd,
		peers:       make(map[enode.ID]*peer),
		groups:      make(map[groupKey]*group),
		byAddress:   wrs.New(rnd, (*group).weight),
		byValue:     wrs.New(rnd, func(p *peer) uint64 { return p.valueWeight }),
		topExponent: noExponent,
	}
}

// add queues a ticket and returns those to be dropped now, which may include the
// new one.
func (l *limiter) add(now mclock.AbsTime, t *ticket) (dropped []*ticket) {
	p := l.peers[t.id]
	if p == nil {
		if p = new(peer); l.serving != nil && l.serving.id == t.id {
			p = l.serving.peer
		}
		p.id, l.peers[t.id] = t.id, p
	}
	l.join(p, t.group)
	l.setValue(p, t.value)
	if p.penalty > 0 {
		p.penalty = min(p.penalty+t.cost, maxWeight)
		l.reweigh(p)
		return []*ticket{t}
	}
	t.peer, t.deadline, t.seq = p, now.Add(maxWait), l.added
	l.ages.push(t)
	if p.head == nil {
		p.place = len(l.waiting)
		l.waiting = append(l.waiting, p)
	}
	p.push(t)
	l.reweigh(p)
	if l.queued += t.cost; l.queued > maxQueued {
		dropped = l.shed()
	}
	return dropped
}

// addIdle begins the service of a ticket at once if nobody else wants anything
// and it is not too early. It is add and next in one, for the usual case.
func (l *limiter) addIdle(now mclock.AbsTime, t *ticket) bool {
	if l.serving != nil || len(l.peers) > 0 || now < l.free {
		return false
	}
	t.peer, t.deadline = &t.alone, now.Add(maxWait)
	l.ages.push(t)
	l.lead = 0
	l.serve(now, t)
	return true
}

// next returns the batch to be served now, or nil if there is none, another one
// is in service, or it is too early. The caller calls done when it is served.
func (l *limiter) next(now mclock.AbsTime) *ticket {
	if l.serving != nil || now < l.free {
		return nil
	}
	for {
		p, byValue := l.choose()
		if p == nil {
			return nil
		}
		if p.penalty > 0 {
			l.forgive(p)
			continue
		}
		t := l.popHead(p)
		if byValue {
			l.lead -= int64(t.cost)
		} else {
			l.lead += int64(t.cost)
		}
		l.serve(now, t)
		l.reweigh(p)
		return t
	}
}

func (l *limiter) serve(now mclock.AbsTime, t *ticket) {
	l.free = now.Add(time.Duration(t.cost) * l.delay)
	l.serving, t.peer.inService = t, t.cost
}

// done ends the service of the ticket that next returned.
func (l *limiter) done() {
	t := l.serving
	l.serving, t.peer.inService = nil, 0
	l.ages.remove(t)
}

// expire returns the tickets that waited too long. The one in service may be
// among them: nobody waits for it any more, but it is not done.
func (l *limiter) expire(now mclock.AbsTime) (dropped []*ticket) {
	for t := l.ages.first; t != nil && t.deadline <= now; t = l.ages.first {
		if t != l.serving {
			l.popHead(t.peer) // the oldest of all is the oldest of its peer
			l.reweigh(t.peer)
		}
		l.ages.remove(t)
		dropped = append(dropped, t)
	}
	return dropped
}

// wake returns when next or expire will have something to do. It returns false
// if that takes another call of add or done.
func (l *limiter) wake() (at mclock.AbsTime, ok bool) {
	if l.ages.first != nil {
		at, ok = l.ages.first.deadline, true
	}
	if l.serving == nil && len(l.peers) > 0 && (!ok || l.free < at) {
		at, ok = l.free, true
	}
	return at, ok
}

// clear drops all that is waiting and forgives all penalties. The ticket in
// service stays.
func (l *limiter) clear() (dropped []*ticket) {
	for len(l.waiting) > 0 {
		dropped = append(dropped, l.drop(l.waiting[0])...)
	}
	for l.penalized.first != nil {
		l.forgive(l.penalized.first)
	}
	return dropped
}

// choose draws a peer by the rule that has given out less. While nobody has
// value there is one rule, which then owes nothing to the other.
func (l *limiter) choose() (p *peer, byValue bool) {
	if l.byValue.IsEmpty() {
		l.lead = 0
	} else if l.lead >= 0 {
		return l.byValue.Choose()
	}
	g, ok := l.byAddress.Choose()
	if !ok {
		return nil, false
	}
	return g.choose(), false
}

// shed drops and penalizes those who ask most for their share, until half of
// what may be queued is left. Of equals those who came last go first.
func (l *limiter) shed() (dropped []*ticket) {
	var sumValue float64
	for _, p := range l.waiting {
		sumValue += p.value
	}
	type offer struct {
		p     *peer
		share float64 // of the service, per cost asked for
	}
	offers := make([]offer, len(l.waiting))
	for i, p := range l.waiting {
		share := 1 / float64(len(l.groups)) / float64(p.group.size)
		if p.value > 0 {
			share += p.value / sumValue
		}
		offers[i] = offer{p, share / float64(p.queued+p.inService)}
	}
	slices.SortFunc(offers, func(a, b offer) int {
		return cmp.Or(cmp.Compare(a.share, b.share), cmp.Compare(b.p.head.seq, a.p.head.seq))
	})
	for i := 0; l.queued > maxQueued/2; i++ {
		dropped = append(dropped, l.drop(offers[i].p)...)
	}
	return dropped
}

// drop empties the peer's queue and penalizes the peer.
func (l *limiter) drop(p *peer) (dropped []*ticket) {
	p.penalty = min(p.queued+p.inService, maxWeight)
	for p.head != nil {
		t := l.popHead(p)
		l.ages.remove(t)
		dropped = append(dropped, t)
	}
	l.penalized.push(p)
	l.reweigh(p)
	if l.penalized.size > maxPenalized {
		l.forgive(l.penalized.first)
	}
	return dropped
}

func (l *limiter) forgive(p *peer) {
	l.penalized.remove(p)
	p.penalty = 0
	l.reweigh(p)
}

// popHead takes the oldest ticket out of the peer's queue and leaves the weights
// to the caller. The ticket keeps its place among the ages.
func (l *limiter) popHead(p *peer) *ticket {
	t := p.pop()
	l.queued -= t.cost
	if p.head == nil {
		last := len(l.waiting) - 1
		l.waiting[p.place] = l.waiting[last]
		l.waiting[p.place].place = p.place
		l.waiting[last] = nil
		l.waiting = l.waiting[:last]
	}
	return t
}

// join moves the peer to the group of the address that it has now. The caller
// calls reweigh.
func (l *limiter) join(p *peer, key groupKey) {
	if p.group != nil && p.group.key == key {
		return
	}
	l.leave(p)
	g := l.groups[key]
	if g == nil {
		g = &group{key: key}
		l.groups[key] = g
	}
	g.add(p, l.rnd)
}

func (l *limiter) leave(p *peer) {
	g := p.group
	if g == nil {
		return
	}
	g.remove(p)
	if g.size == 0 {
		delete(l.groups, g.key)
	}
	l.byAddress.Update(g)
}

// reweigh brings all weights in line with what the peer waits for. A peer that
// waits for nothing leaves and is forgotten, but for what is in service.
func (l *limiter) reweigh(p *peer) {
	cost := p.penalty
	if p.head != nil {
		cost = p.head.cost
	}
	if cost > 0 {
		p.group.setWeight(p, max(1, maxWeight/cost))
		l.byAddress.Update(p.group)
		l.setValueWeight(p, valueWeight(p.value, cost, l.topExponent))
		return
	}
	l.leave(p)
	l.setValueWeight(p, 0)
	delete(l.peers, p.id)
}

func (l *limiter) setValueWeight(p *peer, w uint64) {
	if w != p.valueWeight {
		p.valueWeight = w
		l.byValue.Update(p)
	}
}

// setValue replaces the peer's value. Weights are relative to the highest value
// around, which is looked for at times lest one that left be remembered. The
// caller calls reweigh.
func (l *limiter) setValue(p *peer, value float64) {
	p.value = sanitizeValue(value)
	top := max(l.topExponent, exponent(p.value))
	if l.added++; l.added%rescaleEvery == 0 {
		top = exponent(p.value)
		for _, other := range l.waiting {
			top = max(top, exponent(other.value))
		}
	}
	if top == l.topExponent {
		return
	}
	l.topExponent = top
	for _, other := range l.waiting {
		l.reweigh(other)
	}
	for other := l.penalized.first; other != nil; other = other.byPenalty.next {
		l.reweigh(other)
	}
}
