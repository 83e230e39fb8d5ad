package lespay

import (
	"encoding/csv"
	"math"
	"os"
	"strconv"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// lesRequests is the request list of LES clients.
func lesRequests(t testing.TB) []RequestInfo {
	f, err := os.Open("testdata/les-v1.13.5-basket.csv")
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	var reqs []RequestInfo
	for _, row := range rows[1:] {
		amount, err := strconv.ParseFloat(row[1], 64)
		require.NoError(t, err)
		value, err := strconv.ParseFloat(row[2], 64)
		require.NoError(t, err)
		reqs = append(reqs, RequestInfo{row[0], amount, value})
	}
	require.Len(t, reqs, 10)
	return reqs
}

func requireNormalized(t require.TestingT, b basket) {
	amount, value := b.sums()
	require.InDelta(t, amount, value, amount*1e-9+float64(len(b.Items)))
}

func TestInitialBasketOfLES(t *testing.T) {
	reqs := lesRequests(t)
	b := initialBasket(reqs)
	requireNormalized(t, b)
	ref := b.view()
	for i, r := range reqs {
		require.EqualValues(t, r.InitAmount*1e6, b.Items[i].Amount)
		require.InEpsilon(t, ref.prices[0]/reqs[0].InitValue, ref.prices[i]/r.InitValue, 1e-4, r.Name)
	}
}

func TestBadRequestLists(t *testing.T) {
	for want, reqs := range map[string][]RequestInfo{
		"Requests is empty":                    nil,
		`"a" is also the name of Requests[0]`:  {{"a", 1, 1}, {"a", 1, 1}},
		`Requests[1].InitAmount of "b"`:        {{"a", 1, 1}, {"b", -1, 1}},
		`Requests[0].InitAmount of "a": NaN`:   {{"a", math.NaN(), 1}},
		`Requests[0].InitValue of "a": NaN`:    {{"a", 1, math.NaN()}},
		`Requests[0].InitValue of "a": -2`:     {{"a", 1, -2}},
		`Requests[0].InitValue of "a": +Inf`:   {{"a", 1, math.Inf(1)}},
		"every InitAmount is 0":                {{"a", 0, 1}, {"b", 0, 1}},
		"the sum of InitAmount·InitValue is 0": {{"a", 1, 0}, {"b", 0, 1}},
		"InitValue is +Inf":                    {{"a", 1e200, 1e200}},
	} {
		_, err := NewValueTracker(Config{Requests: reqs})
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "lespay: Config.Requests")
	}
}

// Whatever list passes the check gives a basket without NaN, with finite prices.
func TestCheckedListsGiveUsableBaskets(t *testing.T) {
	num := rapid.OneOf(rapid.Float64Range(0, 1e6), rapid.SampledFrom([]float64{0, 1e-300, 1e-9, 1e30, 1e300, math.MaxFloat64}))
	rapid.Check(t, func(t *rapid.T) {
		var reqs []RequestInfo
		for i := range rapid.IntRange(1, 5).Draw(t, "types") {
			reqs = append(reqs, RequestInfo{strconv.Itoa(i), num.Draw(t, "amount"), num.Draw(t, "value")})
		}
		if checkRequests(reqs) != nil {
			return
		}
		b := initialBasket(reqs)
		amount, _ := b.sums()
		require.Greater(t, amount, 0.0)
		b.normalize()
		for i, it := range b.Items {
			p := b.view().prices[i]
			require.True(t, p >= 0 && p <= math.MaxFloat64, "%v", p)
			require.LessOrEqual(t, it.Amount, uint64(1<<61))
		}
	})
}

// What a server gives up arrives in the reference basket: amounts to the unit,
// values as what the amounts are worth there.
func TestDrainMovesAmountsAndPricesThem(t *testing.T) {
	item := rapid.Custom(func(t *rapid.T) basketItem {
		some := rapid.Uint64Range(1e3, 1e9)
		any := rapid.OneOf(rapid.Just(uint64(0)), some)
		return basketItem{some.Draw(t, "amount"), any.Draw(t, "value")}
	})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "types")
		items := rapid.SliceOfN(item, n, n)
		ref := basket{Items: items.Draw(t, "ref")}
		ref.normalize()
		b := basket{Items: items.Draw(t, "server")}
		before, view := b.clone(), ref.view()
		sum := basket{Items: make([]basketItem, n)}
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		b.drain(share, view, &sum)
		var worth, value, slack, held, all float64
		for i, it := range before.Items {
			held += float64(it.Value)
			all += float64(it.Amount) * view.prices[i]
		}
		for i, it := range sum.Items {
			slack += 2 + 2*view.prices[i] + 2*all/max(held, 1) // rounding
			require.Equal(t, before.Items[i].Amount, b.Items[i].Amount+it.Amount)
			require.InDelta(t, float64(before.Items[i].Amount)*share, float64(it.Amount), 1)
			worth += float64(it.Amount) * view.prices[i]
			value += float64(it.Value)
		}
		require.InDelta(t, worth, value, worth*1e-9+slack)
		for i := range ref.Items {
			ref.Items[i].add(sum.Items[i].Amount, sum.Items[i].Value)
		}
		ref.normalize()
		requireNormalized(t, ref)
	})
}

func TestCostFactor(t *testing.T) {
	ref := (&basket{Items: []basketItem{{1e6, 3e6}, {2e6, 0}}}).view()
	for _, c := range []struct {
		costs []tally
		want  float64
	}{
		{[]tally{{cost: 100}, {cost: 50}}, 15000}, // 3e6·1e6 / (100·1e6 + 50·2e6)
		{[]tally{{cost: 0}, {cost: 0}}, 0},
		{[]tally{{cost: 1e-7}}, 0}, // below 1
		{[]tally{{cost: 7}}, 3e6 / 7.},
		{nil, 0},
		{[]tally{{cost: math.MaxUint64}, {cost: math.MaxUint64}}, 1e6 / math.MaxUint64},
	} {
		require.InDelta(t, c.want, ref.costFactor(c.costs, len(c.costs)), c.want*1e-9, "%v", c.costs)
	}
}

// A server's costs give its basket comparable values, whatever their unit; what
// has no cost is priced as elsewhere.
func TestServedRequestsArePricedByCost(t *testing.T) {
	w := newWorld(t)
	vt := w.start() // reference values 0.5, 1, 1.5
	for _, unit := range []uint64{1, 1000, 1e15} {
		nv := vt.Register(id(int(unit % 97)))
		nv.UpdateCosts([]uint64{1 * unit, 2 * unit, 3 * unit})
		nv.Served([]ServedRequest{{0, 2}, {2, 2}}, 0)
		nv.UpdateCosts([]uint64{3 * unit, 3 * unit}) // what was served before keeps its price
		nv.Served([]ServedRequest{{0, 4}, {2, 4}}, 0)
		nv.mu.flush()
		require.InDelta(t, 1e6*(2*0.5+4*0.75), float64(nv.mu.basket.Items[0].Value), 2)
		require.InDelta(t, 1e6*(2*1.5+4*1.5), float64(nv.mu.basket.Items[2].Value), 2)
		require.EqualValues(t, 6e6, nv.mu.basket.Items[2].Amount)
	}
}

func TestNormalizeNeverDividesByZero(t *testing.T) {
	empty := basket{Items: make([]basketItem, 2)}
	empty.normalize()
	require.True(t, empty.isZero())
	free := basket{Items: []basketItem{{5, 0}, {7, 0}}}
	free.normalize()
	require.Equal(t, []basketItem{{5, 5}, {7, 7}}, free.Items)
	full := basket{Items: []basketItem{{math.MaxUint64, math.MaxUint64}, {math.MaxUint64, 1}}}
	full.normalize()
	require.EqualValues(t, uint64(math.MaxUint64), full.Items[0].Value, "saturates")
}

// A type that is not used for years keeps its price.
func TestRareTypesKeepTheirPrice(t *testing.T) {
	b := basket{Items: []basketItem{{1e9, 2.5e9}, {1e6, 0.25e6}, {0, 0}}}
	for exp := uint64(1); exp < 200; exp += 7 {
		b.raiseReference(exp)
	}
	ref := b.view()
	require.InDelta(t, 2.5, ref.prices[0], 0.01)
	require.InDelta(t, 0.25, ref.prices[1], 0.01)
	require.Less(t, ref.amounts[0], 2*float64(amountFloor))
	require.Zero(t, ref.amounts[2])

	b = basket{Items: []basketItem{{1e9, 2e9}}}
	b.raiseReference(3)
	require.Equal(t, basket{Items: []basketItem{{1e9 / 8, 2e9 / 8}}, Exp: 3}, b)
	b.raiseReference(math.MaxUint64)
	require.GreaterOrEqual(t, b.Items[0].Amount, uint64(amountFloor))
}

func TestNewTypesStartInProportion(t *testing.T) {
	init := basket{Items: []basketItem{{10, 20}, {30, 30}, {5, 50}}}
	b := basket{Items: []basketItem{{40, 1}, {60, 2}, {}}, Exp: 9}
	b.fillIn(init, []bool{true, true, false})
	// (40·10 + 60·30) / (10² + 30²) = 2.2
	require.Equal(t, basket{Items: []basketItem{{40, 1}, {60, 2}, {11, 110}}, Exp: 9}, b)
	b = basket{Items: make([]basketItem, 3)}
	b.fillIn(init, []bool{false, false, false})
	require.Equal(t, init, b)
}

func TestMappings(t *testing.T) {
	lists := [][]string{{}, {"b", "a"}, {"a", "a"}, {"a", "b"}}
	m := newMappings(lists, []string{"a", "b"})
	require.Equal(t, 1, m.current, "the first with these names")
	require.Equal(t, []int{1, 0}, m.order)
	require.Len(t, m.lists, 4)

	b, known := m.load(basket{Items: []basketItem{{1, 2}, {3, 4}}, Exp: 7}, 1)
	require.Equal(t, basket{Items: []basketItem{{3, 4}, {1, 2}}, Exp: 7}, b)
	require.Equal(t, []bool{true, true}, known)

	m = newMappings(lists, []string{"c", "b"})
	require.Equal(t, 4, m.current)
	require.Equal(t, []string{"c", "b"}, m.lists[4])
	require.Len(t, lists, 4)
	b, known = m.load(basket{Items: []basketItem{{1, 2}, {3, 4}}, Exp: 7}, 3)
	require.Equal(t, basket{Items: []basketItem{{}, {3, 4}}, Exp: 7}, b, "the exponent stays")
	require.Equal(t, []bool{false, true}, known)
	require.False(t, m.fits(b, 0))
	require.False(t, m.fits(b, 5))
	require.False(t, m.fits(b, math.MaxUint64))
	require.True(t, m.lost(0))
}

func TestBasketOnTheWire(t *testing.T) {
	b := basket{Items: []basketItem{{1, 2}, {300, 4}}, Exp: 5}
	buf := rlp.NewEncoderBuffer(nil)
	encodeBasket(buf, b, []int{0, 1})
	data := finish(buf)
	require.Equal(t, "0xcac8c20102c482012c0405", hexutil.Encode(data))
	same, err := rlp.EncodeToBytes(b)
	require.NoError(t, err)
	require.Equal(t, same, data)
}
