package server

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Random clients connect, leave, pay, make requests and ask for capacity, with
// random limits, prices and steps of time both small and large. After each step the
// invariants hold that the test names below it.
func TestPoolProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(t)
		defer l.Stop()
		t.Repeat(map[string]func(*rapid.T){
			"connect": l.connectSomebody,
			"leave":   l.leaveSomebody,
			"pay":     l.paySomebody,
			"raise":   l.raiseSomebody,
			"request": l.requestOfSomebody,
			"limits":  l.changeLimits,
			"prices":  l.changePrices,
			"bias":    func(t *rapid.T) { l.SetConnectedBias(drawSpan(t, "bias")) },
			"wait":    func(t *rapid.T) { l.clock.Run(drawSpan(t, "span")) },
			"ask":     l.askAndTry,
			"":        l.check,
		})
	})
}

// ---------------------------------------------------------------------------

// life is a world with at most lifeSize clients.
type life struct {
	*world
}

const lifeSize = 14

func newLife(t *rapid.T) *life {
	return &life{world: newWorld(t, func(c *Config) {
		c.TokenPrices, c.DebtPrices = drawPrices(t), drawPrices(t)
		if rapid.Bool().Draw(t, "decay") {
			c.TokenLifetime, c.DebtLifetime = time.Hour, 10*time.Minute
		}
		c.MaxClients, c.MaxCapacity = drawLimits(t)
	})}
}

func drawSpan(t *rapid.T, label string) time.Duration {
	return time.Duration(rapid.OneOf(
		rapid.Int64Range(0, 1000),
		rapid.Int64Range(0, int64(2*time.Second)),
		rapid.Int64Range(0, int64(time.Minute)),
		rapid.SampledFrom([]int64{int64(time.Second), hour}),
	).Draw(t, label))
}

func drawPrices(t *rapid.T) PriceFactors {
	factor := rapid.SampledFrom([]float64{0, 0.001, 0.37, 1, 2.5})
	return PriceFactors{
		TimeFactor:     factor.Draw(t, "time"),
		CapacityFactor: 1000 * factor.Draw(t, "capacity"),
		RequestFactor:  factor.Draw(t, "request"),
	}
}

func drawLimits(t *rapid.T) (count, capacity uint64) {
	return rapid.Uint64Range(0, 8).Draw(t, "count"), rapid.Uint64Range(0, 2000).Draw(t, "capacity")
}

func drawTokens(t *rapid.T) int64 {
	return rapid.OneOf(
		rapid.Int64Range(-1000, 1000),
		rapid.Int64Range(-hour, hour),
		rapid.SampledFrom([]int64{0, 1, -1, hour, -hour, 100 * hour}),
	).Draw(t, "tokens")
}

func (l *life) draw(t *rapid.T) int { return rapid.IntRange(0, lifeSize-1).Draw(t, "who") }

// find returns the peer with a number, nil if it is not connected.
func (l *life) find(i int) *peer {
	for _, p := range l.peers {
		if p.node.ID() == nodeID(i) {
			return p
		}
	}
	return nil
}

// connectAs registers a client at one of a few addresses, so that some share one.
func (l *life) connectAs(i int) *peer {
	p := l.newPeer(i)
	p.free = sharedAddress(i)
	p.allowance = time.Duration(i%3) * time.Second
	p.register()
	return p
}

func sharedAddress(i int) string { return address(i / 2) }

func (l *life) connectSomebody(t *rapid.T) {
	if i := l.draw(t); l.find(i) == nil {
		l.connectAs(i)
	}
}

func (l *life) leaveSomebody(t *rapid.T) {
	if p := l.find(l.draw(t)); p != nil {
		p.leave()
	}
}

func (l *life) add(i int, tokens int64) {
	l.BalanceOperation(nodeID(i), sharedAddress(i), func(b AtomicBalanceOperator) {
		before, after, err := b.AddBalance(tokens)
		if err != nil {
			require.ErrorIs(l.t, err, ErrBalanceOverflow)
			require.Equal(l.t, before, after)
		}
	})
}

func (l *life) paySomebody(t *rapid.T) { l.add(l.draw(t), drawTokens(t)) }

// raiseSomebody: an attempt that fails changes nothing for anybody.
func (l *life) raiseSomebody(t *rapid.T) {
	i := l.draw(t)
	p := l.find(i)
	if p == nil {
		return
	}
	l.askShared(i, 0, 0) // all that is due is done
	before := l.capacities()
	want := max(testMinCap, rapid.Uint64Range(0, 2500).Draw(t, "capacity"))
	got, err := l.SetCapacity(p.node, want, drawSpan(t, "bias"), true)
	require.Contains(t, []error{nil, ErrNoPriority}, err)
	require.Equal(t, p.capacity, got)
	if got != want {
		require.Equal(t, before, l.capacities())
	}
}

func (l *life) capacities() (list []uint64) {
	for _, p := range l.peers {
		list = append(list, p.capacity)
	}
	return list
}

func (l *life) requestOfSomebody(t *rapid.T) {
	if p := l.find(l.draw(t)); p != nil {
		left := p.balance.RequestServed(rapid.Uint64Range(0, 1e9).Draw(t, "cost"))
		pos, _ := p.balance.GetBalance()
		require.Equal(t, pos, left)
		l.clock.Run(0)
	}
}

func (l *life) changeLimits(t *rapid.T) { l.SetLimits(drawLimits(t)) }

func (l *life) changePrices(t *rapid.T) {
	if p := l.find(l.draw(t)); p != nil {
		p.balance.SetPriceFactors(drawPrices(t), drawPrices(t))
		l.clock.Run(0)
	}
}

// askAndTry: what is answered is what a connection gets at the same time, for
// clients that are connected or not, with tokens added or taken, and with any bias.
func (l *life) askAndTry(t *rapid.T) {
	i := l.draw(t)
	amount := drawTokens(t)
	bias := rapid.Uint64Range(0, 300).Draw(t, "query bias")
	reply := l.askShared(i, bias, amount)
	require.Len(t, reply, 1)
	granted := reply[0]
	p := l.find(i)
	wasActive := p != nil && p.capacity > 0
	l.add(i, amount)
	if p != nil && p.disconnected > 0 { // it comes back
		p.leave()
		p = nil
	}
	if p == nil {
		p = l.connectAs(i)
	}
	if granted == 0 {
		if !wasActive && time.Duration(bias)*time.Second <= l.mu.bias {
			require.Zero(t, p.capacity)
		}
		return
	}
	require.NotZero(t, p.capacity)
	got, err := l.SetCapacity(p.node, granted, time.Duration(bias)*time.Second, true)
	require.NoError(t, err)
	require.Equal(t, granted, got)
	require.Equal(t, granted, p.capacity)
}

func (l *life) askShared(i int, bias uint64, amounts ...int64) []uint64 {
	return l.queryCapacity(nodeID(i), sharedAddress(i), seconds(bias), amounts)
}

// check is what holds between all steps.
func (l *life) check(t *rapid.T) {
	l.requireConsistent()
	l.requireFlags()
	l.requireNobodyWaitsInVain()
	l.requireMonotone(t)
}

// requireFlags: who has tokens has the rights of it, and nobody else.
func (l *life) requireFlags() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	for _, c := range l.mu.clients {
		l.mu.charge(c, now)
		pos := l.mu.worthNow(c.tokens, c.debt, c.prices, now).pos
		if c.paying {
			require.True(l.t, pos > 0 || c.runsOut <= now.Add(time.Second))
		} else {
			require.Zero(l.t, pos)
			require.LessOrEqual(l.t, c.capacity, uint64(testMinCap))
		}
	}
}

// requireNobodyWaitsInVain: whoever waits is worth too little for a place, by a
// second's charges at most.
func (l *life) requireNobodyWaitsInVain() {
	l.clock.Run(0)
	l.mu.Lock()
	defer l.mu.Unlock()
	if best := l.mu.waiters.first(); best != nil {
		require.False(l.t, l.mu.market.admits(func(uint64) int64 { return -best.key }))
	}
	require.LessOrEqual(l.t, l.mu.waiters.size, len(l.mu.clients)-int(l.mu.market.count))
}

// requireMonotone: more tokens never get less, more bias never gets more.
func (l *life) requireMonotone(t *rapid.T) {
	i := l.draw(t)
	amounts := []int64{math.MinInt64, -hour, -1, 0, 1, hour, math.MaxInt64}
	small, large := l.askShared(i, 1, amounts...), l.askShared(i, 100, amounts...)
	for j := range amounts {
		require.LessOrEqual(t, large[j], small[j])
		require.True(t, small[j] == 0 || small[j] >= testMinCap)
		if j > 0 {
			require.LessOrEqual(t, small[j-1], small[j])
			require.LessOrEqual(t, large[j-1], large[j])
		}
	}
}

// Whether it is connected or not makes no difference to what a client is answered:
// who asks, leaves and asks again gets the same, unless it left something that
// others wait for.
func TestAnswerDoesNotDependOnConnection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(t)
		defer l.Stop()
		l.SetConnectedBias(drawSpan(t, "connected bias"))
		for i := range rapid.IntRange(2, lifeSize).Draw(t, "clients") {
			l.add(i, max(0, drawTokens(t)))
			p := l.newPeer(i)
			p.free, p.allowance = sharedAddress(i), time.Hour
			p.register()
			l.raiseSomebody(t)
			l.clock.Run(time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "span")))
		}
		bias := rapid.Uint64Range(0, 300).Draw(t, "bias")
		amounts := rapid.SliceOfN(rapid.Int64Range(-hour, hour), 1, 16).Draw(t, "amounts")
		for _, p := range slices.Clone(l.peers) {
			id := p.node.ID()
			connected := l.queryCapacity(id, p.free, seconds(bias), amounts)
			if p.capacity > 0 && l.mu.waiters.size > 0 {
				continue
			}
			p.leave()
			require.Equal(t, connected, l.queryCapacity(id, p.free, seconds(bias), amounts))
		}
	})
}
