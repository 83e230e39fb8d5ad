package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

func TestAddedTokensCount(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 10 {
		w.pay(i, hour)
		w.connect(i)
	}
	got := w.ask(20, 0, 0, hour/2, 2*hour, 1<<62)
	require.Equal(t, []uint64{0, 0}, got[:2])
	require.Greater(t, got[2], uint64(100))
	require.EqualValues(t, 1000, got[3])
}

func TestAddressOfQuery(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 10 {
		w.owe(i, 1e9)
		w.connect(i)
	}
	w.owe(20, 1e12)
	query := []byte{0xc5, 0x80, 0xc3, 0xc2, 0x80, 0x80}
	no, yes := []byte{0xc1, 0x80}, []byte{0xc1, 100}
	plain := address(20)
	for _, from := range []string{plain, plain + ":30303", "::ffff:" + plain, "[::ffff:" + plain + "]:1"} {
		require.Equal(t, no, w.Handle(nodeID(20), from, "cq", query), from)
	}
	require.Equal(t, yes, w.Handle(nodeID(20), "10.9.9.9:30303", "cq", query))
	w.owe(21, 0)
	w.BalanceOperation(nodeID(21), nodeID(21).String(), func(b AtomicBalanceOperator) {
		require.NoError(t, b.SetBalance(0, 1e12))
	})
	for _, local := range []string{"127.0.0.1:30303", "::1", "", "nonsense", nodeID(21).String()} {
		require.Equal(t, no, w.Handle(nodeID(21), local, "cq", query), local)
	}
	require.Equal(t, "fe80::1", freeClientID(nodeID(1), "fe80::1%eth0"))
	require.Nil(t, w.Handle(nodeID(21), plain, "CQ", query))
}

func TestRequestedReachesThePeer(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, hour)
	p := w.connect(1)
	require.False(t, p.requested)
	_, err := p.set(200)
	require.NoError(t, err)
	require.True(t, p.requested)
	_, err = w.SetCapacity(testutil.FakeNode(1, 1), 300, 0, true) // not the same pointer
	require.NoError(t, err)
	require.True(t, p.requested)
	_, err = w.SetCapacity(p.node, 400, 0, false)
	require.NoError(t, err)
	require.False(t, p.requested)
	_, err = p.set(150)
	require.NoError(t, err)
	require.True(t, p.requested)
	w.SetLimits(10, 100)
	require.False(t, p.requested)
}

// 700, 300 and 100 of 1,100: the last one leaves, another one that waits gets its
// place, and a second one that waits gets nothing; nobody else loses anything.
func TestFailedAttemptChangesNothing(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxCapacity = 1100; c.TokenPrices = PriceFactors{RequestFactor: 1} })
	var peers []*peer
	for i, tokens := range []int64{7e9, 3e9, 1e9} {
		w.pay(i, tokens)
		peers = append(peers, w.connect(i))
	}
	for i, capacity := range []uint64{700, 300} {
		_, err := peers[i].set(capacity)
		require.NoError(t, err)
	}
	w.pay(10, 9e8)
	w.pay(11, 8e8)
	next, last := w.connect(10), w.connect(11)
	require.Zero(t, next.capacity+last.capacity)
	peers[2].leave()
	require.EqualValues(t, 100, next.capacity)
	require.Zero(t, last.capacity)
	require.EqualValues(t, 300, peers[1].capacity)
	require.EqualValues(t, 700, peers[0].capacity)
}

// 50 are free, too little for who waits and is worth less than each member is with
// what it has. With those 50 the second one would be worth less than that, and had
// to give more than it got; so it does not get them, and is not told that it would.
func TestRaiseIsNotTakenBackByWhoWaits(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxCapacity = 1050; c.TokenPrices = PriceFactors{RequestFactor: 1} })
	w.pay(1, 1e9)
	w.pay(2, 55000)
	w.pay(3, 9600)
	_, err := w.connect(1).set(450)
	require.NoError(t, err)
	p := w.connect(2)
	_, err = p.set(550)
	require.NoError(t, err)
	waiting := w.connect(3)
	require.Zero(t, waiting.capacity)
	offer := w.ask(2, 0, 0)[0]
	require.EqualValues(t, 578, offer, "55000 tokens for 578 are 95 each, as offered by who waits")
	for _, capacity := range []uint64{600, offer + 1} {
		got, err := p.set(capacity)
		require.NoError(t, err)
		require.EqualValues(t, 550, got)
	}
	got, err := p.set(offer)
	require.NoError(t, err)
	require.Equal(t, offer, got)
	require.Equal(t, []string{"100", "550", "578"}, p.calls)
	require.Empty(t, waiting.calls)
	waiting.leave()
	_, err = p.set(600)
	require.NoError(t, err)
	require.EqualValues(t, 600, p.capacity, "nobody else wants them")
}

// Who takes a step of another's capacity gets all of it while nobody else waits. It
// does not stand in its own way.
func TestWhoWaitsAloneHasNoRival(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.TokenPrices = PriceFactors{RequestFactor: 1} })
	w.pay(1, 50000)
	_, err := w.connect(1).set(1000)
	require.NoError(t, err)
	w.pay(2, 4000)
	waiting := w.connect(2)
	require.Zero(t, waiting.capacity)
	require.Equal(t, []uint64{0, 250}, w.ask(2, 0, 0, 11000))
	waiting.leave()
	require.Equal(t, []uint64{0, 250}, w.ask(2, 0, 0, 11000))
	w.pay(3, 3000)
	w.connect(3)
	require.Equal(t, []uint64{0, 220}, w.ask(2, 0, 0, 11000), "then 100 of it are for who waits, and a second step is dearer")
}

type counter struct{ n int64 }

func (c *counter) Mark(n int64)   { c.n += n }
func (c *counter) Update(n int64) { c.n = n }

func TestMetrics(t *testing.T) {
	var m [9]counter
	w := newWorld(t, func(c *Config) {
		c.MaxClients = 1
		c.Metrics = Metrics{&m[0], &m[1], &m[2], &m[3], &m[4], &m[5], &m[6], &m[7], &m[8]}
	})
	first := w.connect(1)
	w.pay(2, hour)
	second := w.connect(2)
	require.EqualValues(t, 100, m[0].n)
	require.EqualValues(t, 1, m[1].n)
	require.EqualValues(t, 1, m[2].n)
	require.EqualValues(t, 2, m[3].n, "connected")
	require.EqualValues(t, 2, m[4].n, "activated")
	require.EqualValues(t, 1, m[5].n, "deactivated")
	first.leave()
	require.EqualValues(t, 1, m[6].n, "disconnected")
	require.Zero(t, m[2].n)
	w.ask(3, 0, 0)
	w.ask(3, 0, 2*hour)
	require.EqualValues(t, 1, m[7].n, "zero")
	require.EqualValues(t, 1, m[8].n, "not zero")
	second.leave()
	require.Zero(t, m[0].n+m[1].n)
}

func TestHugeNumbers(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MinCapacity, c.MaxCapacity = 1, 1<<64-1 })
	w.pay(1, maxBalance)
	_, limit := w.Limits()
	require.EqualValues(t, uint64(1<<62), limit)
	require.Equal(t, []uint64{1 << 62, 1 << 62}, w.ask(1, 1<<64-1, 0, maxBalance))
	p := w.connect(1)
	got, err := p.set(1 << 62)
	require.NoError(t, err)
	require.EqualValues(t, uint64(1<<62), got)
	require.Zero(t, w.connect(2).capacity)
	w.SetLimits(1<<64-1, 1<<63)
	w.clock.Run(time.Hour)
	w.requireConsistent()
	p.balance.RequestServed(1<<64 - 1)
	p.balance.SetPriceFactors(PriceFactors{1e300, 1e300, 1e300}, PriceFactors{1e300, 1e300, 1e300})
	w.clock.Run(time.Hour)
	_, neg := p.balance.GetBalance()
	require.EqualValues(t, uint64(maxBalance), neg)
	w.requireConsistent()
}

// What an insider has spent more than a second ago counts in every decision.
func TestDecisionsKnowTheLastSecond(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 2 })
	w.pay(1, 100*hour)
	w.pay(2, 50*hour)
	rich, poor := w.connect(1), w.connect(2)
	rich.balance.RequestServed(uint64(99 * hour))
	w.clock.Run(time.Second)
	w.pay(3, 2*hour)
	require.NotZero(t, w.ask(3, 0, 0)[0])
	require.NotZero(t, w.connect(3).capacity)
	require.Zero(t, rich.capacity, "has less than the others by now")
	require.NotZero(t, poor.capacity)
}

// Requests count when they are made, however long the client was idle before.
func TestBurstCountsAtOnce(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 1; c.TokenPrices = PriceFactors{RequestFactor: 1} })
	w.pay(1, hour)
	p := w.connect(1)
	w.clock.Run(1000 * time.Hour)
	require.EqualValues(t, hour/2, p.balance.RequestServed(uint64(hour/2)))
	w.clock.Run(time.Second)
	require.NotZero(t, w.ask(2, 0, hour/2+1000)[0])
}
