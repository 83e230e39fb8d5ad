package server

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Random programs run on the market and on a model that does the same by looking
// at every member for every step. After each instruction all capacities agree, and
// so does what members and others could have.
func TestMarketAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &program{t: t}
		minCap := rapid.SampledFrom([]uint64{1, 3, 10, 100}).Draw(t, "minCap")
		divisor := rapid.SampledFrom([]uint64{2, 4, 100}).Draw(t, "divisor")
		p.market, p.model = newMarket(minCap, divisor), &model{minCap: minCap, divisor: divisor}
		t.Repeat(map[string]func(*rapid.T){
			"limits":  p.limits,
			"enter":   p.enter,
			"leave":   p.leave,
			"raise":   p.raise,
			"lower":   p.lower,
			"revalue": p.revalue,
			"":        p.check,
		})
	})
}

// ---------------------------------------------------------------------------

type program struct {
	t       *rapid.T
	market  *market
	model   *model
	members []*member // all that ever entered
}

func (p *program) worth(t *rapid.T) worth {
	if rapid.Bool().Draw(t, "pays") {
		return worth{pos: rapid.Uint64Range(1, 50000).Draw(t, "pos")}
	}
	return worth{neg: rapid.Uint64Range(0, 20).Draw(t, "neg")}
}

func (p *program) bidder(t *rapid.T) bidder {
	w := p.worth(t)
	handicap := rapid.Int64Range(0, 5).Draw(t, "handicap")
	return func(c uint64) int64 { return w.priority(c) - handicap }
}

func (p *program) limits(t *rapid.T) {
	count := rapid.Uint64Range(0, 6).Draw(t, "count")
	capacity := p.model.minCap * rapid.Uint64Range(0, 30).Draw(t, "capacity")
	p.market.setLimits(count, capacity)
	p.model.setLimits(count, capacity)
}

func (p *program) enter(t *rapid.T) {
	w := p.worth(t)
	bid := p.bidder(t)
	admitted := p.model.admits(bid)
	require.Equal(t, admitted, p.market.admits(bid))
	if admitted {
		m := &member{seq: uint64(len(p.members))}
		p.members = append(p.members, m)
		p.market.enter(m, w)
		p.model.enter(len(p.model.worths), w)
	}
}

// active draws a member, -1 if there is none.
func (p *program) active(t *rapid.T) int {
	var list []int
	for i, m := range p.members {
		if m.capacity > 0 {
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		return -1
	}
	return rapid.SampledFrom(list).Draw(t, "member")
}

func (p *program) leave(t *rapid.T) {
	if i := p.active(t); i >= 0 {
		p.market.leave(p.members[i])
		p.model.capacities[i] = 0
	}
}

func (p *program) raise(t *rapid.T) {
	i := p.active(t)
	if i < 0 {
		return
	}
	bid := p.bidder(t)
	limit := p.market.most(p.members[i], bid, false)
	require.Equal(t, p.model.mostOfMember(i, bid), limit)
	c := rapid.Uint64Range(p.members[i].capacity, limit).Draw(t, "capacity")
	p.market.resize(p.members[i], c)
	p.model.raise(i, c)
}

func (p *program) lower(t *rapid.T) {
	if i := p.active(t); i >= 0 {
		c := rapid.Uint64Range(p.model.minCap, p.members[i].capacity).Draw(t, "capacity")
		p.market.resize(p.members[i], c)
		p.model.capacities[i] = c
	}
}

func (p *program) revalue(t *rapid.T) {
	if i := p.active(t); i >= 0 {
		w := p.worth(t)
		p.market.revalue(p.members[i], w)
		p.model.worths[i] = w
	}
}

func (p *program) check(t *rapid.T) {
	var count, capacity uint64
	for i, m := range p.members {
		require.Equal(t, p.model.capacities[i], m.capacity, "member %d", i)
		require.True(t, m.capacity == 0 || m.capacity >= p.model.minCap)
		capacity += m.capacity
		if m.capacity > 0 {
			count++
		}
	}
	require.Equal(t, count, p.market.count)
	require.Equal(t, capacity, p.market.capacity)
	require.LessOrEqual(t, count, p.market.maxCount)
	require.LessOrEqual(t, capacity, p.market.maxCap)
	bid := p.bidder(t)
	for _, waiting := range []bool{false, true} {
		if waiting && count < p.market.maxCount && p.market.free() >= p.model.minCap {
			continue // who waits would be in
		}
		limit := p.market.most(nil, bid, waiting)
		require.Equal(t, p.model.admits(bid), limit > 0)
		p.requireGranted(t, bid, limit, waiting)
	}
}

// requireGranted lets the asker in, then one who waits and could not be let in if
// nothing were left over, and then expects the raise that was promised.
func (p *program) requireGranted(t *rapid.T, bid bidder, limit uint64, waiting bool) {
	if limit == 0 {
		return
	}
	trial := p.model.clone()
	asker := len(trial.worths)
	trial.enter(asker, worth{})
	for waiting && trial.count() < trial.maxCount && trial.free() >= trial.minCap {
		trial.enter(len(trial.worths), worth{pos: 1 << 60}) // nobody can displace it
	}
	require.GreaterOrEqual(t, trial.mostOfMember(asker, bid), limit, "waiting: %v\n%v", waiting, p.model)
	if !waiting && p.model.count() < p.model.maxCount && p.model.free() >= p.model.minCap {
		require.Equal(t, trial.mostOfMember(asker, bid), limit)
	}
}

// model is the market's law in plain loops.
type model struct {
	minCap, divisor, maxCount, maxCap uint64
	worths                            []worth
	capacities                        []uint64
}

func (k *model) clone() *model {
	c := *k
	c.worths = append([]worth(nil), k.worths...)
	c.capacities = append([]uint64(nil), k.capacities...)
	return &c
}

func (k *model) String() string {
	s := fmt.Sprintf("limits %d/%d", k.maxCount, k.maxCap)
	for i, c := range k.capacities {
		if c > 0 {
			s += fmt.Sprintf(" %d:%d(%d,%d)", i, c, k.worths[i].pos, k.worths[i].neg)
		}
	}
	return s
}

func (k *model) count() (n uint64) {
	for _, c := range k.capacities {
		if c > 0 {
			n++
		}
	}
	return n
}

func (k *model) free() uint64 {
	free := k.maxCap
	for _, c := range k.capacities {
		free -= min(free, c)
	}
	return free
}

// lowest returns who has the lowest priority at the capacity that at returns; of
// equals, who came last.
func (k *model) lowest(except int, at func(i int) uint64) (who int, priority int64) {
	who = -1
	for i, c := range k.capacities {
		if c == 0 || i == except {
			continue
		}
		if p := k.worths[i].priority(at(i)); who < 0 || p <= priority {
			who, priority = i, p
		}
	}
	return who, priority
}

func (k *model) lowestAtMin() (int, int64) {
	return k.lowest(-1, func(int) uint64 { return k.minCap })
}

func (k *model) lowestNow(except int) (int, int64) {
	return k.lowest(except, func(i int) uint64 { return k.capacities[i] })
}

func (k *model) shrink(i int) {
	c := k.capacities[i]
	if c == k.minCap {
		k.capacities[i] = 0
		return
	}
	k.capacities[i] = max(k.minCap, c-max(1, c/k.divisor))
}

// squeeze takes steps from all but one until so much is free, and returns the
// highest price of them.
func (k *model) squeeze(except int, free uint64) (price int64, paid bool) {
	for k.free() < free {
		i, p := k.lowestNow(except)
		k.shrink(i)
		price, paid = p, true
	}
	return price, paid
}

func (k *model) setLimits(count, capacity uint64) {
	k.maxCount, k.maxCap = count, capacity
	for k.count() > count {
		i, _ := k.lowestAtMin()
		k.capacities[i] = 0
	}
	var sum uint64
	for _, c := range k.capacities {
		sum += c
	}
	for sum > capacity {
		i, _ := k.lowestNow(-1)
		sum -= k.capacities[i]
		k.shrink(i)
		sum += k.capacities[i]
	}
}

func (k *model) admits(bid bidder) bool {
	if k.maxCount == 0 || k.maxCap < k.minCap {
		return false
	}
	if k.count() == k.maxCount {
		_, price := k.lowestAtMin()
		return bid(k.minCap) > price
	}
	price, paid := k.clone().squeeze(-1, k.minCap)
	return !paid || bid(k.minCap) > price
}

func (k *model) enter(i int, w worth) {
	if k.count() == k.maxCount {
		weakest, _ := k.lowestAtMin()
		k.capacities[weakest] = 0
	}
	k.squeeze(-1, k.minCap)
	k.worths = append(k.worths, w)
	k.capacities = append(k.capacities, k.minCap)
}

func (k *model) raise(i int, c uint64) {
	k.squeeze(i, c-k.capacities[i])
	k.capacities[i] = c
}

func (k *model) mostOfMember(i int, bid bidder) uint64 {
	c := k.capacities[i]
	trial := k.clone()
	for {
		if free := trial.free(); free > 0 {
			c += free
			trial.capacities[i] += free
		}
		weakest, price := trial.lowestNow(i)
		if weakest < 0 || bid(c+1) <= price {
			return c
		}
		trial.shrink(weakest)
		for gain := trial.free(); gain > 0 && bid(c+1) > price; gain-- {
			c++
			trial.capacities[i]++
		}
		if trial.free() > 0 {
			return c
		}
	}
}
