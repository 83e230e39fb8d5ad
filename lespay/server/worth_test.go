package server

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lespool/lespool/lespay"
)

const billion = 1000000000

// A client with a minute's worth of tokens runs, makes requests, and estimates its
// priority after some time in which requests cost twice the average so far.
func TestEstimates(t *testing.T) {
	p := prices{pos: perNs, neg: perNs}
	tokens := balance{ExpiredValue: lespay.ExpiredValue{Base: uint64(time.Minute)}}
	var debt balance
	var age time.Duration
	var requests float64
	for i, step := range []struct {
		run    time.Duration
		cost   float64
		future time.Duration
		want   int64
	}{
		{time.Second, 0, time.Second, 58},
		{0, 0, time.Second, 58},
		{time.Second, billion, time.Second, 55},
		{time.Second, billion, 3 * time.Second, 48},
		{55 * time.Second, 0, 0, -1},
		{0, 0, time.Minute, -60*billion - billion*120/29},
	} {
		chargeTime(&tokens, &debt, step.run, [2]float64{p.pos.perNs(billion, 0), p.neg.perNs(billion, 0)}, offsets{})
		chargeRequest(&tokens, &debt, step.cost, p, offsets{})
		age += step.run
		requests += step.cost
		o := outlook{future: step.future}
		if age > time.Second {
			o.reqPerNs = 2 * requests / float64(age)
		}
		w := worth{pos: tokens.amount(0), neg: debt.amount(0), prices: p}
		require.Equal(t, step.want, w.estimate(billion, o), "step %d", i)
	}
}

// A billion tokens, a time factor of 1 and a capacity of a million: the priority
// falls to 500 in half a second, to 0 in one, and to minus a billion in two.
func TestTimeToFall(t *testing.T) {
	const capacity = 1000000
	price := PriceFactors{TimeFactor: 1}.perNs(capacity, 0)
	require.Equal(t, 500*time.Millisecond, duration(timeToFall(billion, 500*capacity, price, 0)))
	require.Equal(t, time.Second, duration(timeToFall(billion, 0, price, 0)))
	p := prices{pos: PriceFactors{TimeFactor: 1}, neg: PriceFactors{TimeFactor: 1}}
	require.EqualValues(t, -billion, worth{pos: billion, prices: p}.after(2*time.Second, capacity, 0).priority(capacity))
	require.Equal(t, never, duration(timeToFall(billion, 0, 0, 0)), "costs nothing")

	// What decays as well is gone earlier.
	rate := 1 / float64(time.Second)
	require.InDelta(t, math.Ln2*1e9, timeToFall(billion, 0, price, rate), 1e3)
}

func TestPriority(t *testing.T) {
	require.EqualValues(t, 10, worth{pos: 1099, neg: 5}.priority(100))
	require.EqualValues(t, -5, worth{neg: 5}.priority(100))
	require.Equal(t, int64(math.MaxInt64), worth{pos: maxBalance}.priority(1))
	require.Equal(t, int64(-math.MaxInt64), worth{neg: maxBalance}.estimate(1, outlook{bias: never}))
}

// The estimate does not rise with capacity, future or bias, nor fall with tokens,
// and it is below the priority of the moment.
func TestEstimateIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := worth{
			pos:    rapid.Uint64Range(0, maxBalance).Draw(t, "pos"),
			neg:    rapid.Uint64Range(0, maxBalance-1).Draw(t, "neg"),
			prices: prices{drawPrices(t), drawPrices(t)},
		}
		c := rapid.Uint64Range(1, maxCapacity/2).Draw(t, "capacity")
		o := outlook{drawSpan(t, "future"), rapid.Float64Range(0, 10).Draw(t, "requests"), drawSpan(t, "bias")}
		e := w.estimate(c, o)
		require.Less(t, e, w.priority(c))
		require.LessOrEqual(t, w.estimate(c+rapid.Uint64Range(0, c).Draw(t, "more"), o), e)
		longer := o
		longer.future += drawSpan(t, "longer")
		require.LessOrEqual(t, w.estimate(c, longer), e)
		longer = o
		longer.bias += drawSpan(t, "longer")
		require.LessOrEqual(t, w.estimate(c, longer), e)
		richer := w
		richer.pos += rapid.Uint64Range(0, maxBalance-w.pos).Draw(t, "tokens")
		require.GreaterOrEqual(t, richer.estimate(c, o), e)
	})
}
