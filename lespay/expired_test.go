package lespay

import (
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func whole(exp uint64) Fixed64 { return Uint64ToFixed64(exp) }

func TestExpiredValueReads(t *testing.T) {
	for _, c := range []struct {
		v    ExpiredValue
		at   uint64
		want uint64
	}{
		{ExpiredValue{128, 0}, 0, 128},
		{ExpiredValue{128, 0}, 1, 64},
		{ExpiredValue{128, 2}, 2, 128},
		{ExpiredValue{128, 2}, 3, 64},
		{ExpiredValue{128, 0}, 64, 0},
		{ExpiredValue{128, 0}, 1 << 38, 0},
		{ExpiredValue{math.MaxUint64, 0}, 0, math.MaxUint64},
		{ExpiredValue{math.MaxUint64, 3}, 0, math.MaxUint64},
		{ExpiredValue{1, math.MaxUint64}, 0, math.MaxUint64},
		{ExpiredValue{1, 63}, 0, 1 << 63},
		{ExpiredValue{1, 64}, 0, math.MaxUint64},
	} {
		require.Equal(t, c.want, c.v.Value(whole(c.at)), "%v at %d", c.v, c.at)
	}
}

func TestExpiredValueAdds(t *testing.T) {
	for _, c := range []struct {
		v         ExpiredValue
		amount    int64
		at        uint64
		want, net int64
	}{
		{ExpiredValue{128, 0}, 128, 0, 256, 128},
		{ExpiredValue{128, 0}, 128, 1, 192, 128},
		{ExpiredValue{128, 2}, 128, 0, 640, 128},
		{ExpiredValue{128, 2}, 128, 1, 384, 128},
		{ExpiredValue{128, 2}, 128, 3, 192, 128},
		{ExpiredValue{128, 0}, -64, 0, 64, -64},
		{ExpiredValue{128, 0}, -64, 1, 0, -64},
		{ExpiredValue{128, 0}, -128, 1, 0, -64},
		{ExpiredValue{128, 0}, -192, 0, 0, -128},
		{ExpiredValue{128, 2}, -1024, 0, 0, -512}, // more than was there, before the value's exponent
		{ExpiredValue{128, 0}, math.MinInt64, 0, 0, -128},
	} {
		v := c.v
		require.Equal(t, c.net, v.Add(c.amount, whole(c.at)), "%v + %d at %d", c.v, c.amount, c.at)
		require.EqualValues(t, c.want, v.Value(whole(c.at)), "%v + %d at %d", c.v, c.amount, c.at)
	}

	var v ExpiredValue
	v.Add(1e6, Float64ToFixed64(1.5))
	require.Equal(t, ExpiredValue{1414213, 1}, v)
	require.EqualValues(t, 999999, v.Value(Float64ToFixed64(1.5)))

	full := ExpiredValue{Base: math.MaxUint64 - 10}
	require.EqualValues(t, 10, full.Add(1000, 0), "only that much room")
	require.EqualValues(t, uint64(math.MaxUint64), full.Base)
}

func TestExpiredValueSums(t *testing.T) {
	a := ExpiredValue{128, 0}
	a.AddExp(ExpiredValue{128, 1})
	require.EqualValues(t, 384, a.Value(0))

	a = ExpiredValue{128, 1}
	a.SubExp(ExpiredValue{128, 0})
	require.EqualValues(t, 128, a.Value(0))
	require.EqualValues(t, 64, a.Value(whole(1)))

	a = ExpiredValue{128, 0}
	a.SubExp(ExpiredValue{128, 1})
	require.True(t, a.IsZero())

	a = ExpiredValue{math.MaxUint64, 5}
	a.AddExp(ExpiredValue{math.MaxUint64, 5})
	require.Equal(t, ExpiredValue{math.MaxUint64, 5}, a, "saturates")
}

// The sums are exact: a dumb model in big numbers gives the same whole numbers.
func TestExpiredValueAgainstBigNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := ExpiredValue{Base: rapid.Uint64().Draw(t, "base"), Exp: rapid.Uint64Range(0, 90).Draw(t, "exp")}
		at := Fixed64(rapid.Int64Range(0, 90<<fixedBits).Draw(t, "offset"))
		require.Equal(t, modelValue(v.Base, v.Exp, at), v.Value(at))

		amount := rapid.Int64Range(0, math.MaxInt64).Draw(t, "amount")
		sum := v
		net := sum.Add(amount, at)
		require.LessOrEqual(t, net, amount)
		f := ExpFactor(at)
		exp := max(v.Exp, f.Exp)
		want := new(big.Int).SetUint64(shr(v.Base, exp-v.Exp))
		want.Add(want, modelInflated(uint64(amount), f, exp))
		if want.IsUint64() {
			require.Equal(t, ExpiredValue{want.Uint64(), exp}, sum)
			require.Equal(t, amount, net)
		} else {
			require.Equal(t, ExpiredValue{math.MaxUint64, exp}, sum)
		}

		// What was added can be taken away again, and nothing below 0.
		require.LessOrEqual(t, sum.Add(-net, at), int64(0))
		before := sum.Value(at)
		taken := sum.Add(math.MinInt64, at)
		require.LessOrEqual(t, taken, int64(0))
		require.LessOrEqual(t, -taken, int64(min(before, math.MaxInt64)))
	})
}

func shr(v, n uint64) uint64 { return v >> n }

// modelInflated is amount·2^offset in units of 2^exp, rounded down.
func modelInflated(amount uint64, f ExpirationFactor, exp uint64) *big.Int {
	r := new(big.Rat).SetFloat64(f.Factor)
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).SetUint64(amount)))
	r.Quo(r, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), uint(exp-f.Exp))))
	return new(big.Int).Quo(r.Num(), r.Denom())
}

func modelValue(base, exp uint64, at Fixed64) uint64 {
	f := ExpFactor(at)
	r := new(big.Rat).SetInt(new(big.Int).Lsh(new(big.Int).SetUint64(base), uint(exp)))
	r.Quo(r, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), uint(f.Exp))))
	r.Quo(r, new(big.Rat).SetFloat64(f.Factor))
	if q := new(big.Int).Quo(r.Num(), r.Denom()); q.IsUint64() {
		return q.Uint64()
	}
	return math.MaxUint64
}

// No input panics, wraps around, or gives a negative or infinite value.
func TestExpiredValueTakesAnything(t *testing.T) {
	extreme := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 63, 64, 1 << 39, math.MaxInt64, math.MaxUint64}))
	offsets := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, -1, 0, 1, math.MaxInt64}))
	floats := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -1, 0}))
	rapid.Check(t, func(t *rapid.T) {
		v := ExpiredValue{extreme.Draw(t, "base"), extreme.Draw(t, "exp")}
		w := ExpiredValue{extreme.Draw(t, "base2"), extreme.Draw(t, "exp2")}
		at := Fixed64(offsets.Draw(t, "offset"))
		amount := offsets.Draw(t, "amount")
		before := v.Value(at)
		net := v.Add(amount, at)
		if amount >= 0 {
			require.True(t, net >= 0 && net <= amount)
			if ExpFactor(at).Exp >= v.Exp {
				require.GreaterOrEqual(t, v.Value(at), before>>1) // the shift drops a bit at most
			}
		} else {
			require.True(t, net <= 0 && net >= amount)
			require.LessOrEqual(t, v.Value(at), before)
		}
		sum := v
		sum.AddExp(w)
		require.GreaterOrEqual(t, sum.Base, w.Base>>(sum.Exp-w.Exp))
		v.SubExp(w)
		require.LessOrEqual(t, v.Exp, max(v.Exp, w.Exp))

		f := ExpirationFactor{Exp: extreme.Draw(t, "fexp"), Factor: floats.Draw(t, "factor")}
		got := f.Value(floats.Draw(t, "fbase"), extreme.Draw(t, "vexp"))
		require.True(t, got >= 0 && got <= math.MaxFloat64, "%v", got)
	})
}

func TestExpirationFactorValue(t *testing.T) {
	f := ExpFactor(Float64ToFixed64(2.5))
	require.EqualValues(t, 2, f.Exp)
	require.InDelta(t, math.Sqrt2, f.Factor, 1e-6)
	require.InDelta(t, 100/math.Sqrt2, f.Value(100, 2), 1e-3)
	require.InDelta(t, 100/math.Sqrt2/4, f.Value(100, 0), 1e-3)
	require.InDelta(t, 100/math.Sqrt2*8, f.Value(100, 5), 1e-3)
	require.Equal(t, ExpirationFactor{0, 1}, ExpFactor(-5))
}

func TestFixed64(t *testing.T) {
	f := Float64ToFixed64(3.25)
	require.EqualValues(t, 3, f.ToUint64())
	require.Equal(t, Float64ToFixed64(0.25), f.Fraction())
	require.InDelta(t, math.Exp2(3.25), f.Pow2(), 1e-9)
	require.Equal(t, whole(7), Float64ToFixed64(7))
	require.InDelta(t, 0.5, Float64ToFixed64(-1).Pow2(), 1e-12)

	require.Equal(t, maxFixed, Uint64ToFixed64(1<<39), "saturates")
	require.Equal(t, whole(1<<39-1), Fixed64((1<<39-1)<<24))
	require.Equal(t, maxFixed, Float64ToFixed64(math.Inf(1)))
	require.Equal(t, minFixed, Float64ToFixed64(-1e300))
	require.Zero(t, Float64ToFixed64(math.NaN()))
	require.Zero(t, Fixed64(-1).ToUint64())
	require.Equal(t, maxFixed, maxFixed.plus(1))
	require.Equal(t, minFixed, minFixed.plus(-1))
}

func TestExpirerReferencePoints(t *testing.T) {
	for span, want := range map[time.Duration]Fixed64{
		time.Second:    6723,
		time.Minute:    403406,
		time.Hour:      24204406,
		24 * time.Hour: 580905751,
	} {
		var e Expirer
		e.SetRate(0, 1/float64(time.Hour))
		require.Equal(t, want, e.LogOffset(mclock.AbsTime(span)), span)
	}
	var e Expirer
	e.SetLogOffset(0, whole(5))
	e.SetRate(0, math.Ln2/float64(time.Hour)) // a half life
	require.InDelta(t, float64(whole(7)), float64(e.LogOffset(mclock.AbsTime(2*time.Hour))), 1)
	e.SetRate(mclock.AbsTime(2*time.Hour), 0)
	require.InDelta(t, float64(whole(7)), float64(e.LogOffset(mclock.AbsTime(9*time.Hour))), 1)
	e.SetLogOffset(mclock.AbsTime(9*time.Hour), 3)
	require.EqualValues(t, 3, e.LogOffset(mclock.AbsTime(10*time.Hour)))
}

// However time jumps and rates change, the offset never shrinks, and it never
// grows by more than the span from the first to the last moment.
func TestExpirerNeverShrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e Expirer
		var last, first Fixed64
		var latest mclock.AbsTime
		const maxRate = 1e-9
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now := mclock.AbsTime(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "now"))
			latest = max(latest, now)
			if rapid.Bool().Draw(t, "set") {
				e.SetRate(now, rapid.Float64Range(0, maxRate).Draw(t, "rate"))
			}
			offset := e.LogOffset(now)
			require.GreaterOrEqual(t, offset, last)
			last = offset
		}
		require.LessOrEqual(t, last, first+growth(float64(latest), maxRate)+1)
	})
}

func TestExpirerTakesAnything(t *testing.T) {
	for _, rate := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.MaxFloat64, 0} {
		var e Expirer
		e.SetRate(0, rate)
		require.GreaterOrEqual(t, e.LogOffset(math.MaxInt64), Fixed64(0), rate)
		e.SetLogOffset(0, maxFixed)
		require.Equal(t, maxFixed, e.LogOffset(math.MaxInt64), rate)
	}
}

func TestLinearExpiredValue(t *testing.T) {
	hours := func(n int) mclock.AbsTime { return mclock.AbsTime(n) * mclock.AbsTime(time.Hour) }
	v := LinearExpiredValue{Rate: hours(1)}
	require.EqualValues(t, 5, v.Add(5, hours(10)))
	require.EqualValues(t, 5, v.Value(hours(10)))
	require.EqualValues(t, 3, v.Value(hours(12)))
	require.EqualValues(t, 5, v.Value(hours(2)), "time went back")
	require.EqualValues(t, 0, v.Value(hours(100)))
	require.EqualValues(t, 2, v.Add(-1, hours(12)))
	require.EqualValues(t, 0, v.Add(math.MinInt64, hours(12)))

	v = LinearExpiredValue{Val: math.MaxUint64 - 1}
	require.EqualValues(t, uint64(math.MaxUint64), v.Add(5, hours(1)), "saturates; rate 0 never falls")
	require.EqualValues(t, uint64(math.MaxUint64), v.Value(hours(1e5)))
	v.Rate = -1
	require.EqualValues(t, uint64(math.MaxUint64), v.Value(hours(1e5)))
}

func TestExpiredValuesOnTheWire(t *testing.T) {
	for _, c := range []struct {
		v   any
		hex string
	}{
		{ExpiredValue{}, "0xc28080"},
		{ExpiredValue{Base: 1e12}, "0xc785e8d4a5100080"},
		{LinearExpiredValue{Offset: 1, Val: 300, Rate: 7}, "0xc40182012c"},
	} {
		data, err := rlp.EncodeToBytes(c.v)
		require.NoError(t, err)
		require.Equal(t, c.hex, hexutil.Encode(data))
	}
	var v ExpiredValue
	require.NoError(t, rlp.DecodeBytes(hexutil.MustDecode("0xc785e8d4a5100080"), &v))
	require.Equal(t, ExpiredValue{Base: 1e12}, v)
}

func FuzzExpiredValueDecode(f *testing.F) {
	f.Add(hexutil.MustDecode("0xc28080"))
	f.Add(hexutil.MustDecode("0xc785e8d4a5100080"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v ExpiredValue
		if rlp.DecodeBytes(data, &v) == nil {
			again, err := rlp.EncodeToBytes(v)
			require.NoError(t, err)
			require.Equal(t, data, again)
			v.Add(1000, whole(3))
			v.AddExp(ExpiredValue{7, 9})
		}
		var l LinearExpiredValue
		if rlp.DecodeBytes(data, &l) == nil {
			l.Add(-5, 1e18)
			require.LessOrEqual(t, l.Value(1<<62), l.Val)
		}
	})
}
