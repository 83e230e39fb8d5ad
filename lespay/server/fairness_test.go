package server

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// For a day ten slots are shared by three clients who pay and twenty who do not,
// and who come back some time after they were sent away. The free ones are
// connected equally long, within a fifth.
func TestFreeClientsShareEqually(t *testing.T) {
	const freeClients, payers, step = 20, 3, 10 * time.Second
	w := newWorld(t, func(c *Config) { c.ConnectedBias = time.Minute })
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range payers {
		w.pay(1000+i, 1<<60)
		w.connect(1000 + i)
	}
	var free [freeClients]*peer
	var connected [freeClients]time.Duration
	for i := range free {
		free[i] = w.newPeer(i)
		free[i].left = true
	}
	for at := time.Duration(0); at < 100000*time.Second; at += step {
		for i, p := range free {
			switch {
			case p.left && rnd.IntN(6) == 0:
				*p = peer{w: w, node: p.node, free: p.free}
				p.register()
			case !p.left && p.disconnected > 0:
				p.leave()
			case !p.left && p.capacity > 0:
				connected[i] += step
			}
		}
		w.clock.Run(step)
	}
	var sum time.Duration
	for _, d := range connected {
		sum += d
	}
	require.Greater(t, sum, (10-payers)*90000*time.Second, "the slots were in use")
	for _, d := range connected {
		require.InEpsilon(t, float64(sum/freeClients), float64(d), 0.2)
	}
}

// Whatever a client does, what it paid is what it has and what it spent, and what
// it could not pay for is its debt: within a token for each step.
func TestTokensAreConserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prices := drawPrices(t)
		w := newWorld(t, func(c *Config) { c.MaxCapacity = 10000 })
		defer w.Stop()
		w.SetDefaultFactors(prices, PriceFactors{})
		p := w.connect(1)
		var have float64
		steps := rapid.IntRange(1, 30).Draw(t, "steps")
		for range steps {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				amount := rapid.Int64Range(-1e6, 1e9).Draw(t, "tokens")
				w.pay(1, amount)
				have = max(0, have+float64(amount))
			case 1:
				cost := rapid.Uint64Range(0, 1e6).Draw(t, "cost")
				p.balance.RequestServed(cost)
				w.clock.Run(0)
				have = max(0, have-float64(cost)*prices.RequestFactor)
			case 2:
				_, _ = p.set(rapid.Uint64Range(0, 9000).Draw(t, "capacity"))
			case 3:
				span := time.Duration(rapid.Int64Range(0, 1e5).Draw(t, "span"))
				price := prices.perNs(p.capacity, 0)
				w.clock.Run(span)
				have = max(0, have-float64(span)*price)
			}
			pos, neg := p.balance.GetBalance()
			require.InDelta(t, have, float64(pos), float64(steps))
			require.Zero(t, neg)
			require.Equal(t, pos, w.TotalTokenAmount())
			if pos == 0 {
				have = 0
			}
		}
	})
}

func TestPayingAndUnpayingRestores(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, func(c *Config) { c.TokenLifetime = time.Hour })
		defer w.Stop()
		w.pay(1, rapid.Int64Range(0, 1e15).Draw(t, "had"))
		w.clock.Run(drawSpan(t, "span"))
		before, _ := w.balanceOf(1)
		amount := rapid.Int64Range(0, 1e15).Draw(t, "amount")
		w.pay(1, amount)
		w.pay(1, -amount)
		after, _ := w.balanceOf(1)
		require.InDelta(t, float64(before), float64(after), 1)
	})
}

// Nodes with tokens are worth more to the server of UDP queries.
func TestNodeValue(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, hour)
	require.EqualValues(t, hour, w.NodeValue(nodeID(1)))
	require.Zero(t, w.NodeValue(nodeID(2)))
}
