package lespay

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var noExp = ExpirationFactor{Factor: 1}

func TestTimeScale(t *testing.T) {
	unit := 31 / (math.Log(200) + 1)
	for d, want := range map[time.Duration]float64{
		-time.Second:           0,
		0:                      0,
		25 * time.Millisecond:  unit / 2,
		50 * time.Millisecond:  unit,
		100 * time.Millisecond: unit * (math.Ln2 + 1),
		time.Second:            unit * (math.Log(20) + 1),
		10 * time.Second:       31,
		time.Hour:              31,
		math.MaxInt64:          31,
	} {
		require.InDelta(t, want, TimeToStatScale(d), 1e-9, d)
	}
	require.Zero(t, StatScaleToTime(-1))
	require.Zero(t, StatScaleToTime(math.NaN()))
	require.Equal(t, time.Duration(math.MaxInt64), StatScaleToTime(1e9))
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(maxRespTime)).Draw(t, "d"))
		require.InDelta(t, float64(d), float64(StatScaleToTime(TimeToStatScale(d))), 100)
		p := rapid.Float64Range(0, 31).Draw(t, "pos")
		require.InDelta(t, p, TimeToStatScale(StatScaleToTime(p)), 1e-6)
	})
}

func TestAddSplitsBetweenNeighbours(t *testing.T) {
	var rt ResponseTimeStats
	rt.Add(StatScaleToTime(7.25), 4, ExpirationFactor{Exp: 3, Factor: 1.5})
	require.EqualValues(t, 3, rt.exp)
	require.InDelta(t, 4*1.5e6*0.75, float64(rt.stats[7]), 1)
	require.InDelta(t, 4*1.5e6*0.25, float64(rt.stats[8]), 1)

	rt = ResponseTimeStats{exp: 2}
	rt.Add(0, 1, noExp) // worth less in the present exponent
	require.EqualValues(t, 250000, rt.stats[0])
	rt.Add(time.Hour, 1, ExpirationFactor{Exp: 4, Factor: 1})
	require.EqualValues(t, 250000>>2, rt.stats[0])
	require.EqualValues(t, 1e6, rt.stats[31])
	require.EqualValues(t, 4, rt.exp)
}

func TestSumsHaveACommonExponent(t *testing.T) {
	var a, b ResponseTimeStats
	a.Add(0, 8, ExpirationFactor{0, 1})
	b.Add(0, 1, ExpirationFactor{2, 1})
	sum := a
	sum.AddStats(&b)
	require.EqualValues(t, 3e6, sum.stats[0])
	require.EqualValues(t, 2, sum.exp)
	sum = b
	sum.AddStats(&a)
	require.EqualValues(t, 3e6, sum.stats[0])
	sum.SubStats(&a)
	require.EqualValues(t, 1e6, sum.stats[0])
	sum.SubStats(&a)
	require.Zero(t, sum.stats[0], "not below zero")
}

func TestTimeoutWeights(t *testing.T) {
	for _, timeout := range []time.Duration{100 * time.Millisecond, time.Second, 4 * time.Second, 9 * time.Second} {
		w := TimeoutWeights(timeout)
		require.EqualValues(t, 1, w[0])
		for i := range w[:31] {
			at := StatScaleToTime(float64(i))
			want := -1.0
			if at < 2*timeout {
				want = math.Cos(math.Pi / 2 * at.Seconds() / timeout.Seconds())
			}
			require.InDelta(t, want, w[i], 1e-9, "%v, bin %d", timeout, i)
		}
		require.EqualValues(t, -1, w[31], "failures always count against")
	}
	for _, timeout := range []time.Duration{0, -time.Second} {
		for _, w := range TimeoutWeights(timeout) {
			require.EqualValues(t, -1, w)
		}
	}
}

func TestValueOfStats(t *testing.T) {
	var rt ResponseTimeStats
	w := TimeoutWeights(time.Second)
	rt.Add(0, 10, noExp)
	require.InDelta(t, 10, rt.Value(w, noExp), 1e-6)
	require.InDelta(t, 2.5, rt.Value(w, ExpFactor(whole(2))), 1e-6)
	rt.Add(time.Second, 100, noExp) // at the timeout, worth next to nothing
	require.InDelta(t, 10, rt.Value(w, noExp), 1)
	rt.Add(3*time.Second, 4, noExp)
	require.InDelta(t, 6, rt.Value(w, noExp), 1)
	rt.Add(5*time.Second, 400, noExp)
	require.Zero(t, rt.Value(w, noExp))
}

func TestTimeoutOfStats(t *testing.T) {
	var rt ResponseTimeStats
	require.Equal(t, maxRespTime, rt.Timeout(0.1), "nothing is known")

	rt.Add(binTimes[10], 50, noExp)
	rt.Add(binTimes[20], 50, noExp)
	for ratio, pos := range map[float64]float64{
		0.1: 20.3, 0.25: 20, 0.4: 19.7, 0.6: 10.3, 0.99: 9.52,
	} {
		require.InDelta(t, StatScaleToTime(pos).Seconds(), rt.Timeout(ratio).Seconds(), 1e-3, "%v", ratio)
	}
	require.Equal(t, rt.Timeout(1), rt.Timeout(7))
	require.Equal(t, rt.Timeout(1), rt.Timeout(math.Inf(1)))
	require.Equal(t, rt.Timeout(0), rt.Timeout(-1))
	require.Equal(t, rt.Timeout(0), rt.Timeout(math.NaN()))

	rt = ResponseTimeStats{}
	rt.Add(time.Minute, 1, noExp)
	require.Equal(t, maxRespTime, rt.Timeout(0.5), "failures only")
}

// The time that more may exceed is shorter; failures do not matter.
func TestTimeoutIsMonotoneAndBlindToFailures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rt ResponseTimeStats
		for range rapid.IntRange(1, 50).Draw(t, "answers") {
			d := rapid.Int64Range(0, int64(9*time.Second)).Draw(t, "time")
			rt.Add(time.Duration(d), rapid.Float64Range(0, 100).Draw(t, "weight"), noExp)
		}
		last := maxRespTime
		for r := 0.0; r <= 1; r += 0.05 {
			d := rt.Timeout(r)
			require.True(t, d >= 0 && d <= last, "%v after %v", d, last)
			last = d
		}
		before := rt.Timeout(0.1)
		rt.Add(maxRespTime, rapid.Float64Range(0, 1e6).Draw(t, "failures"), noExp)
		require.Equal(t, before, rt.Timeout(0.1))
	})
}

func TestDistribution(t *testing.T) {
	var rt ResponseTimeStats
	for _, row := range rt.Distribution(true, noExp) {
		require.Zero(t, row[1], "empty")
	}
	rt.Add(time.Second, 30, noExp)
	rt.Add(time.Hour, 10, noExp)
	var sum, norm float64
	for i, row := range rt.Distribution(false, ExpFactor(whole(1))) {
		require.Equal(t, StatScaleToTime(float64(i)).Seconds(), row[0])
		sum += row[1]
	}
	for _, row := range rt.Distribution(true, ExpFactor(whole(1))) {
		norm += row[1]
	}
	require.InDelta(t, 20, sum, 1e-5)
	require.InDelta(t, 1, norm, 1e-9)
}

func TestStatsTakeAnything(t *testing.T) {
	floats := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -1, 0}))
	exps := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 64, math.MaxUint64}))
	rapid.Check(t, func(t *rapid.T) {
		var a, b ResponseTimeStats
		for range 5 {
			f := ExpirationFactor{exps.Draw(t, "exp"), floats.Draw(t, "factor")}
			at := time.Duration(rapid.Int64().Draw(t, "time"))
			before := a.stats[31]
			a.Add(at, floats.Draw(t, "weight"), noExp)
			require.GreaterOrEqual(t, a.stats[31], before, "no wrap around")
			b.Add(at, floats.Draw(t, "weight"), f)
			a.AddStats(&b)
			v := a.Value(TimeoutWeights(at), f)
			require.True(t, v >= 0 && v <= math.MaxFloat64, "%v", v)
			d := b.Timeout(floats.Draw(t, "ratio"))
			require.True(t, d >= 0 && d <= maxRespTime)
			for _, row := range a.Distribution(rapid.Bool().Draw(t, "norm"), f) {
				require.True(t, row[1] >= 0 && row[1] <= math.MaxFloat64)
			}
			b.SubStats(&a)
		}
	})
}

func TestStatsOnTheWire(t *testing.T) {
	var rt ResponseTimeStats
	rt.Add(0, 1, ExpirationFactor{Exp: 5, Factor: 1})
	data, err := rlp.EncodeToBytes(rt)
	require.NoError(t, err)
	want := "0xe5e3830f4240"
	for range 31 {
		want += "80"
	}
	require.Equal(t, want+"05", hexutil.Encode(data))
	nested, err := rlp.EncodeToBytes(&struct{ A, B ResponseTimeStats }{rt, rt})
	require.NoError(t, err)
	require.Len(t, nested, 2+2*len(data))

	var back ResponseTimeStats
	require.NoError(t, rlp.DecodeBytes(data, &back))
	require.Equal(t, rt, back)
	for _, bad := range []string{"0xc0", "0xc2c080", "0x80", want + "0501", want} {
		kept := back
		require.Error(t, rlp.DecodeBytes(hexutil.MustDecode(bad), &back), bad)
		require.Equal(t, kept, back)
	}
}

func FuzzStatsDecode(f *testing.F) {
	var rt ResponseTimeStats
	rt.Add(time.Second, 7, ExpirationFactor{Exp: 5, Factor: 1.2})
	data, _ := rlp.EncodeToBytes(rt)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var rt ResponseTimeStats
		if err := rlp.DecodeBytes(data, &rt); err != nil {
			if !errors.Is(err, rlp.ErrMoreThanOneValue) { // which comes after decoding
				require.Equal(t, ResponseTimeStats{}, rt)
			}
			return
		}
		again, err := rlp.EncodeToBytes(rt)
		require.NoError(t, err)
		require.Equal(t, data, again)
		rt.Add(time.Second, 1, noExp)
		rt.Value(TimeoutWeights(time.Second), noExp)
		rt.Timeout(0.5)
	})
}

func TestLn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(1e-3, 1e6).Draw(t, "x")
		require.InDelta(t, math.Log(x), ln(x), 2e-13*max(1, math.Abs(math.Log(x)))+1e-12)
	})
	require.InDelta(t, 0, ln(1), 1e-12)
	require.InDelta(t, math.Log(200), ln(200), 1e-11)
}
