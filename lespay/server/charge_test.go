package server

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lespool/lespool/lespay"
)

func tokens(n uint64) balance { return balance{ExpiredValue: lespay.ExpiredValue{Base: n}} }

// Two million charges of 999 ns at a thousandth of a token each are two million
// times 0.999 tokens, not nothing.
func TestSmallChargesAddUp(t *testing.T) {
	pos, neg := tokens(1e9), tokens(0)
	for range 2000000 {
		chargeTime(&pos, &neg, 999, [2]float64{1e-3, 0}, offsets{})
	}
	require.InDelta(t, 1998000, 1e9-float64(pos.Base), 1)

	pos = tokens(0)
	for range 2000000 {
		chargeRequest(&pos, &neg, 1, prices{neg: PriceFactors{RequestFactor: 0.25}}, offsets{})
	}
	require.InDelta(t, 500000, float64(neg.Base), 1)
}

// However a span is cut into pieces, the same is charged, within a token.
func TestChargesDoNotDependOnTheirNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cost := [2]float64{rapid.Float64Range(0, 3).Draw(t, "pos"), rapid.Float64Range(0, 3).Draw(t, "neg")}
		start := rapid.Uint64Range(0, 1e6).Draw(t, "tokens")
		pos, neg := tokens(start), tokens(0)
		var total time.Duration
		for range rapid.IntRange(1, 50).Draw(t, "pieces") {
			span := time.Duration(rapid.Int64Range(0, 1e5).Draw(t, "span"))
			total += span
			chargeTime(&pos, &neg, span, cost, offsets{})
		}
		pos1, neg1 := tokens(start), tokens(0)
		chargeTime(&pos1, &neg1, total, cost, offsets{})
		require.InDelta(t, float64(pos1.Base), float64(pos.Base), 1)
		require.InDelta(t, float64(neg1.Base), float64(neg.Base), 2+cost[1]/max(cost[0], 1e-9))
	})
}

// The part of a span that tokens pay for is not charged as debt as well.
func TestTokensThenDebt(t *testing.T) {
	pos, neg := tokens(600), tokens(0)
	chargeTime(&pos, &neg, 1000, [2]float64{1, 0.5}, offsets{})
	require.True(t, pos.IsZero())
	require.EqualValues(t, 200, neg.Base, "half a token for each of 400 ns")

	pos, neg = tokens(600), tokens(0)
	chargeRequest(&pos, &neg, 1000, prices{pos: PriceFactors{RequestFactor: 2}, neg: PriceFactors{RequestFactor: 3}}, offsets{})
	require.EqualValues(t, 2100, neg.Base, "700 of the cost were not paid for")

	pos, neg = tokens(1), tokens(0)
	chargeTime(&pos, &neg, time.Hour, [2]float64{0, 1}, offsets{})
	require.EqualValues(t, 1, pos.Base, "nothing to pay while there are tokens")
	require.True(t, neg.IsZero())
}

func TestBalancesStayInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		extreme := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, maxBalance, math.MaxUint64}))
		at := lespay.Fixed64(rapid.Int64Range(0, 100<<24).Draw(t, "offset"))
		b := balance{ExpiredValue: lespay.ExpiredValue{Base: extreme.Draw(t, "base"), Exp: rapid.Uint64Range(0, 100).Draw(t, "exp")}}
		amount := rapid.OneOf(rapid.Float64Range(0, 1e30), rapid.SampledFrom([]float64{0, 1 << 53, 1 << 63, math.Inf(1)})).Draw(t, "amount")
		before := b.amount(at)
		c := b
		c.give(amount, at)
		require.LessOrEqual(t, c.amount(at), uint64(maxBalance))
		require.GreaterOrEqual(t, c.amount(at)+1, before)
		require.True(t, c.owed >= 0 && c.owed < 1)
		missing := b.take(amount, at)
		require.LessOrEqual(t, b.amount(at), before)
		require.True(t, missing >= 0 && b.owed >= 0 && b.owed < 1)
	})
}

// What decays for a time and then for another has decayed for both.
func TestDecayAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := decay{rate: 1 / float64(time.Hour)}
		first := mclock.AbsTime(rapid.Int64Range(0, 100*hour).Draw(t, "first"))
		second := mclock.AbsTime(rapid.Int64Range(0, 100*hour).Draw(t, "second"))
		whole := d.at(first + second)
		d.setConstant(first, time.Hour)
		require.InDelta(t, float64(whole), float64(d.at(first+second)), 1)
		require.GreaterOrEqual(t, d.at(first+second), d.at(first))
	})
	d := decay{offset: math.MaxInt64 - 5, rate: 1}
	require.Equal(t, lespay.Fixed64(math.MaxInt64), d.at(math.MaxInt64), "saturates")
	require.Equal(t, d.offset, d.at(-5), "stands still before its time")
}

// The sum of all balances is exact whatever comes and goes, so nothing is left
// when all have gone.
func TestTallyIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := make(tally)
		var list []lespay.ExpiredValue
		for range rapid.IntRange(1, 30).Draw(t, "values") {
			v := lespay.ExpiredValue{Base: rapid.Uint64().Draw(t, "base"), Exp: rapid.Uint64Range(0, 5).Draw(t, "exp")}
			list = append(list, v)
			all.add(v)
		}
		at := lespay.Fixed64(rapid.Int64Range(10<<24, 70<<24).Draw(t, "offset"))
		var want float64
		for _, v := range list {
			want += lespay.ExpFactor(at).Value(float64(v.Base), v.Exp)
		}
		require.InDelta(t, want, float64(all.value(at)), 6+want*1e-9)
		for _, v := range list {
			all.remove(v)
		}
		require.Empty(t, all)
		all.remove(list[0])
		require.Empty(t, all, "what is not there makes no trace either")
	})
	full := make(tally)
	for range 3 {
		full.add(lespay.ExpiredValue{Base: math.MaxUint64})
	}
	require.EqualValues(t, uint64(math.MaxUint64), full.value(0))
	require.EqualValues(t, uint64(3<<62-1), full.value(lespay.Uint64ToFixed64(2)))
}

// While the store is scanned some balances get into memory before it is their turn;
// each is counted once.
func TestTotalCountsEachOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := newTokenTotal()
		n := rapid.IntRange(1, 20).Draw(t, "balances")
		value := func(i int) lespay.ExpiredValue { return lespay.ExpiredValue{Base: 1 << i} }
		for i := range n {
			for range rapid.IntRange(0, 2).Draw(t, "reads") {
				who := rapid.IntRange(0, n-1).Draw(t, "who")
				total.meet(fmt.Sprintf("%02d", who), value(who))
			}
			total.pass(fmt.Sprintf("%02d", i), value(i))
		}
		total.pass("00", value(0)) // the scan began anew
		total.finish()
		total.meet("00", value(0))
		require.EqualValues(t, 1<<n-1, total.value(0))
	})
}

func TestPricesAreMadeUsable(t *testing.T) {
	for _, bad := range []float64{-1, math.NaN(), math.Inf(-1)} {
		require.Zero(t, usable(bad))
	}
	require.EqualValues(t, maxFactor, usable(math.Inf(1)))
	require.Equal(t, 3+7.0*5/1e6+2*11, PriceFactors{3, 5, 2}.perNs(7, 11))
}
