package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Small steps, real exhaustion: whoever has tokens keeps its capacity until they
// are gone, and no longer, though nothing else happens. Also after it was inactive.
func TestTokensRunOutWithoutTraffic(t *testing.T) {
	for _, span := range []time.Duration{3 * time.Second, time.Minute, time.Hour, 50 * time.Hour} {
		w := newWorld(t, func(c *Config) { c.TokenLifetime = 1000 * time.Hour })
		w.pay(1, int64(span))
		p := w.connect(1)
		_, err := p.set(300)
		require.NoError(t, err)
		w.SetLimits(0, 0)
		w.clock.Run(10 * time.Second) // inactive: costs nothing
		w.SetLimits(10, 1000)
		_, err = p.set(300)
		require.NoError(t, err)
		for range 100 {
			w.clock.Run(span / 100 * 95 / 100)
		}
		require.EqualValues(t, 300, p.capacity, span)
		w.clock.Run(span/20 + time.Second)
		require.EqualValues(t, 100, p.capacity, span)
		pos, _ := p.balance.GetBalance()
		require.Zero(t, pos)
	}
}

func TestTokensTakenWhileWaiting(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 0 })
	w.pay(1, hour)
	p := w.connect(1)
	w.clock.Run(time.Hour)
	require.Empty(t, p.calls, "may wait as long as it has tokens")
	w.pay(1, -hour)
	w.clock.Run(1)
	require.Equal(t, []string{"disconnect"}, p.calls)
}

// The allowance ends when tokens arrive, and starts when they are gone.
func TestAllowanceStopsWithTokens(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 0 })
	p := w.newPeer(1)
	p.allowance = time.Minute
	p.register()
	w.clock.Run(59 * time.Second)
	w.pay(1, hour)
	w.clock.Run(time.Hour)
	require.Empty(t, p.calls)
	w.pay(1, -hour)
	w.clock.Run(59 * time.Second)
	require.Empty(t, p.calls)
	w.clock.Run(time.Second)
	require.Equal(t, []string{"disconnect"}, p.calls)
}

func TestTokensThatAreGoneAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, 1)
	p := w.connect(1)
	_, err := p.set(200)
	require.NoError(t, err)
	require.EqualValues(t, 200, p.capacity)
	w.clock.Run(2)
	require.EqualValues(t, 100, p.capacity)

	w.pay(2, hour)
	p = w.connect(2)
	_, err = p.set(200)
	require.NoError(t, err)
	p.balance.SetPriceFactors(PriceFactors{TimeFactor: 1e20}, PriceFactors{})
	w.clock.Run(2)
	require.EqualValues(t, 100, p.capacity)

	w.pay(3, hour)
	p = w.connect(3)
	_, err = p.set(200)
	require.NoError(t, err)
	require.Zero(t, p.balance.RequestServed(2*uint64(hour)))
	w.clock.Run(0)
	require.EqualValues(t, 100, p.capacity)
}

// Who would have kept its tokens for ever loses its rights when they are made to
// decay and are gone, though nothing else happens.
func TestFasterDecayIsNoticed(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.TokenPrices = PriceFactors{RequestFactor: 1} })
	w.pay(1, hour)
	p := w.connect(1)
	_, err := p.set(500)
	require.NoError(t, err)
	w.SetExpirationTCs(60, 0)
	w.clock.Run(28 * time.Minute)
	require.EqualValues(t, 500, p.capacity, "e^28 are less than it had")
	w.clock.Run(2 * time.Minute)
	require.EqualValues(t, 100, p.capacity)
}

// A request that takes the last tokens of a client makes room at once for who waits.
func TestLastRequestMakesRoom(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 1; c.TokenPrices = PriceFactors{RequestFactor: 1} })
	w.pay(1, 10000)
	w.pay(2, 5000)
	first, second := w.connect(1), w.connect(2)
	w.clock.Run(500 * time.Millisecond)
	require.Zero(t, second.capacity)
	require.Zero(t, first.balance.RequestServed(20000))
	w.clock.Run(0)
	require.EqualValues(t, 100, second.capacity)
	require.Zero(t, first.capacity)
}

// A last token that decays, and pays for a nanosecond, is gone after that.
func TestLastTokenIsSpent(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.TokenLifetime = time.Hour })
	w.pay(1, 1)
	p := w.connect(1)
	_, err := p.set(200)
	require.NoError(t, err)
	w.clock.Run(2)
	require.EqualValues(t, 100, p.capacity)
}

// Tokens that arrive at the moment at which the last ones are gone keep the client
// where it is.
func TestDepositAtExhaustion(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, 1e9)
	p := w.connect(1)
	_, err := p.set(500)
	require.NoError(t, err)
	w.clock.Run(time.Second - 1)
	w.pay(1, hour)
	w.clock.Run(time.Minute)
	require.EqualValues(t, 500, p.capacity)

	w.BalanceOperation(nodeID(1), "", func(b AtomicBalanceOperator) {
		require.NoError(t, b.SetBalance(0, 0))
		_, _, err := b.AddBalance(hour)
		require.NoError(t, err)
	})
	require.EqualValues(t, 500, p.capacity, "nothing in between is seen")
	w.clock.Run(time.Hour + time.Second)
	require.EqualValues(t, 100, p.capacity)
}

// The last token may take long to fade; the pool does not stare at it meanwhile.
func TestLastTokenIsNotStaredAt(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.TokenPrices, c.TokenLifetime = PriceFactors{RequestFactor: 1}, 10*365*24*time.Hour
	})
	w.pay(1, 1)
	w.connect(1)
	end, steps := w.clock.Now().Add(time.Second), 0
	for w.clock.Now() < end && steps < 10000 {
		w.clock.Step()
		steps++
	}
	require.Less(t, steps, 1100)
}
