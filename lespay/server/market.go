package server

import "github.com/lespool/lespool/internal/invariants"

const (
	// defaultStepDivisor is the share of its capacity, one in so many, that a
	// member gives up at a time. Larger, less is taken than is needed, and there
	// are more steps to keep in order.
	defaultStepDivisor = 4

	// maxCapacity bounds the capacity of the pool, so that sums and divisions
	// stay in range. Nothing real comes near.
	maxCapacity = 1 << 62
)

// market gives out capacity and slots. It has two rules.
//
// Capacity: each member offers its own in steps, a quarter of the rest at a time
// down to the smallest capacity, and then all of that. The price of a step is the
// priority that the member has before it; it rises from step to step, as the same
// tokens count for less capacity. All steps together are in one order, and who
// needs capacity takes them from the cheapest on. The asker has to be worth more,
// at the capacity it will have, than the last step that it takes.
//
// Slots: where there is none left, the member whose last step is the cheapest
// goes, and the asker has to be worth more than that one with the smallest
// capacity.
//
// The gains of the steps are summed up along the order: what anybody could have
// is found on one way down the tree, and nothing is built for it.
//
// A market decides from the worth that its members had when they were valued
// last, and knows no time. It is not safe for concurrent use.
type market struct {
	minCap, stepDivisor uint64
	maxCount, maxCap    uint64

	count, capacity uint64 // sums over the members
	steps           order
	changed         []*member // whose capacity has changed since changes was called
}

// member is a client as the market sees it. With capacity 0 it is not one yet.
type member struct {
	client   *client // whose place it is
	seq      uint64  // order of arrival
	capacity uint64
	worth    worth   // when it was valued last
	steps    []place // all of them are in the order, but for those taken
	taken    int
	changed  bool // it is in market.changed
}

func newMarket(minCap, stepDivisor uint64) *market {
	return &market{minCap: minCap, stepDivisor: stepDivisor}
}

func (k *market) free() uint64 {
	if k.capacity > k.maxCap {
		return 0
	}
	return k.maxCap - k.capacity
}

// setLimits changes the limits. Members lose what is too much.
func (k *market) setLimits(maxCount, maxCap uint64) {
	k.maxCount, k.maxCap = maxCount, min(maxCap, maxCapacity)
	for k.count > k.maxCount {
		k.leave(k.steps.firstLast().owner)
	}
	for k.capacity > k.maxCap {
		k.takeStep()
	}
}

// enter makes a member with the smallest capacity of who is admitted; see admits.
func (k *market) enter(m *member, w worth) {
	if k.count >= k.maxCount {
		k.leave(k.steps.firstLast().owner)
	}
	k.makeRoom(k.minCap)
	m.worth = w
	k.count++
	k.hold(m, k.minCap)
	k.offer(m)
}

// leave takes all from a member.
func (k *market) leave(m *member) {
	k.withdraw(m)
	k.count--
	k.hold(m, 0)
}

// resize gives a member another capacity, of at least the smallest. One that is
// larger has to be within what most returns.
func (k *market) resize(m *member, capacity uint64) {
	k.withdraw(m)
	k.capacity -= m.capacity
	k.makeRoom(capacity)
	k.capacity += m.capacity
	k.hold(m, capacity)
	k.offer(m)
}

// revalue tells what a member is worth now.
func (k *market) revalue(m *member, w worth) {
	if w == m.worth {
		return
	}
	k.withdraw(m)
	m.worth = w
	k.offer(m)
}

// changes returns the clients whose capacity may have changed since the last
// call, in the order of their first change.
func (k *market) changes() []*member {
	list := k.changed
	k.changed = nil
	for _, m := range list {
		m.changed = false
	}
	return list
}

// hold sets the capacity that a member has.
func (k *market) hold(m *member, capacity uint64) {
	k.capacity += capacity - m.capacity
	m.capacity = capacity
	if !m.changed {
		m.changed = true
		k.changed = append(k.changed, m)
	}
}

// makeRoom takes steps until the given capacity is free.
func (k *market) makeRoom(capacity uint64) {
	for k.free() < capacity {
		k.takeStep()
	}
}

// takeStep takes the cheapest step from whoever offers it.
func (k *market) takeStep() {
	step := k.steps.first()
	m := step.owner
	k.steps.remove(step)
	m.taken++
	if step.last {
		k.count--
	}
	k.hold(m, m.capacity-step.gain)
}

// offer puts the steps of a member into the order. Those that were taken are the
// beginning of what it once had, and the rest is what it would offer anew.
func (k *market) offer(m *member) {
	m.steps, m.taken = m.steps[:0], 0
	for c := m.capacity; c > k.minCap; {
		less := max(k.minCap, c-max(1, c/k.stepDivisor))
		m.steps = append(m.steps, place{key: m.worth.priority(c), gain: c - less})
		c = less
	}
	m.steps = append(m.steps, place{key: m.worth.priority(k.minCap), gain: k.minCap, last: true})
	for i := range m.steps {
		m.steps[i].owner = m
		m.steps[i].tie = ^m.seq<<16 | uint64(i) // of equals, who came last goes first
		k.steps.insert(&m.steps[i])
	}
	if invariants.Enabled {
		k.check()
	}
}

// withdraw takes the steps of a member out of the order.
func (k *market) withdraw(m *member) {
	for i := m.taken; i < len(m.steps); i++ {
		k.steps.remove(&m.steps[i])
	}
	m.taken = len(m.steps)
}

// check panics if the sums along the order are not those of the steps, or if more
// is offered than there is. Members may be about to offer theirs.
func (k *market) check() {
	_, _, sum := k.steps.search(func(*place, uint64) bool { return false })
	if sum > k.capacity || k.steps.root.sum != sum || uint64(k.steps.root.lasts) > k.count {
		panic("server: the sums of the steps are wrong")
	}
}
