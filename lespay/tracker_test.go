package lespay

import (
	"math"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Three servers sell the same requests. They agree on what a proof costs
// compared with a header, in units of their own; the list of the application
// is wrong about it. In time the prices are what the servers charge, what was
// used is known, and all of it is half gone after a half life.
func TestServersTeachTheReference(t *testing.T) {
	w := newWorld(t)
	w.cfg.StatsExpirationRate = math.Ln2 / float64(1000*time.Hour)
	vt := w.start()
	relative := []float64{1, 8, 2.5}
	used := []float64{10, 10, 10} // the initial amounts
	nodes := make([]*NodeValueTracker, 3)
	for i := range nodes {
		nodes[i] = vt.Register(id(i))
		unit := math.Exp(w.rnd.Float64() * 15)
		costs := make([]uint64, 3)
		for j, r := range relative {
			costs[j] = uint64(1000 * unit * r)
		}
		nodes[i].UpdateCosts(costs)
	}
	for range 20000 {
		typ, amount := w.rnd.IntN(3), 1+w.rnd.IntN(10)
		used[typ] += float64(amount)
		nodes[w.rnd.IntN(3)].Served(one(uint32(typ), uint32(amount)), 100*time.Millisecond)
		w.clock.Run(time.Second)
	}
	w.clock.Run(20 * time.Hour) // what servers have in their baskets moves on
	stats := vt.RequestStats()
	decay := math.Exp2(-25.5 / 1000)
	for i, s := range stats {
		require.Equal(t, w.cfg.Requests[i].Name, s.Name)
		require.InEpsilon(t, used[i]*decay, s.ReqAmount, 0.01)
		require.InEpsilon(t, relative[i]/relative[0], s.ReqValue/stats[0].ReqValue, 0.01)
	}
	var amount, worth float64
	for _, s := range stats {
		amount += s.ReqAmount
		worth += s.ReqAmount * s.ReqValue
	}
	require.InEpsilon(t, amount, worth, 1e-6, "the average request is worth 1")
	w.requireSum(vt, 3)

	before := total(vt, vt.RtStats())
	w.clock.Run(1000 * time.Hour)
	require.InEpsilon(t, before/2, total(vt, vt.RtStats()), 1e-3)
	require.InEpsilon(t, stats[1].ReqAmount/2, vt.RequestStats()[1].ReqAmount, 1e-3)
	vt.Stop()
	require.Empty(t, w.log.take())
}

func TestServedAddsTheWorthOfItsRequests(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	prices := vt.RequestStats() // 0.5, 1, 1.5
	require.InDelta(t, 1.5, prices[2].ReqValue, 1e-6)
	nv := vt.Register(id(0))
	nv.Served([]ServedRequest{{0, 4}, {2, 2}}, 100*time.Millisecond)
	require.InDelta(t, 4*0.5+2*1.5, total(vt, nv.RtStats()), 1e-5)
	require.InDelta(t, 5, total(vt, vt.RtStats()), 1e-5, "at once in the global statistics too")
	nv.Served(nil, time.Second)
	require.InDelta(t, 5, total(vt, nv.RtStats()), 1e-5)
}

// From a server that never fails to one that always does the value falls with
// every step, and the recommended timeout stays where it is.
func TestFailuresLowerTheValueAndNotTheTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{500 * time.Millisecond, time.Second, 9 * time.Second} {
		last := math.Inf(1)
		var recommended, median time.Duration
		for percent := 0; percent <= 100; percent += 5 {
			w := newWorld(t)
			vt := w.start()
			nv := vt.Register(id(0))
			for i := range 1000 {
				if i%100 < percent {
					nv.Failed(one(0, 1))
				} else {
					nv.Served(one(0, 1), time.Duration(20+i%7*30)*time.Millisecond)
				}
			}
			rt := vt.RtStats()
			require.Equal(t, rt, nv.RtStats())
			v := rt.Value(TimeoutWeights(timeout), vt.StatsExpFactor())
			if last > 0 {
				require.Less(t, v, last, "%d%%", percent)
			}
			last = v
			if percent == 0 {
				recommended, median = rt.Timeout(0.1), rt.Timeout(0.5)
			} else if percent < 100 {
				require.InEpsilon(t, recommended, rt.Timeout(0.1), 0.08)
				require.InEpsilon(t, median, rt.Timeout(0.5), 0.08)
			}
		}
		require.Zero(t, last)
	}
}

// A failure is no use of a request: it changes neither the mix nor the prices.
func TestFailuresAreNotInTheBasket(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	nv := vt.Register(id(0))
	nv.UpdateCosts([]uint64{1, 1, 100})
	before := vt.RequestStats()
	for range 1000 {
		nv.Failed(one(2, 5))
	}
	nv.Served(one(0, 0), time.Second)
	w.clock.Run(5 * time.Hour)
	for i, s := range vt.RequestStats() {
		require.InEpsilon(t, before[i].ReqValue, s.ReqValue, 1e-6)
		require.InEpsilon(t, before[i].ReqAmount*math.Exp(-0.05), s.ReqAmount, 1e-4)
	}
}

// In the time constant of the transfer all but 1/e of a server's basket moves,
// however often it is asked to.
func TestBasketsMoveAtTheTransferRate(t *testing.T) {
	for _, period := range []time.Duration{time.Second, time.Minute, time.Hour} {
		w := newWorld(t)
		w.cfg.UpdatePeriod = period
		w.cfg.StatsExpirationRate = 1e-30
		vt := w.start()
		nv := vt.Register(id(0))
		nv.Served(one(0, 1e6), time.Second)
		w.clock.Run(time.Hour)
		require.InEpsilon(t, 1e6/math.E, float64(nv.mu.basket.Items[0].Amount)/basketUnit, 1e-6)
		require.InEpsilon(t, 1e6*(1-1/math.E)+10, vt.RequestStats()[0].ReqAmount, 1e-6)
		vt.Stop()
	}
}

func TestMistakesAreLoggedOnceAndSurvived(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	nv := vt.Register(id(0))
	for range 3 {
		nv.UpdateCosts([]uint64{1, 2})
		nv.Served([]ServedRequest{{0, 1}, {3, 1}, {math.MaxUint32, math.MaxUint32}}, time.Second)
		nv.Failed(one(77, 1))
	}
	nv.UpdateCosts([]uint64{1, 2, 3, 4})
	nv.UpdateCosts(nil)
	nv.UpdateCosts([]uint64{math.MaxUint64, math.MaxUint64, 0})
	nv.Served(one(1, math.MaxUint32), -time.Second)
	require.Len(t, w.log.take(), 2, "the table and the type")
	require.InEpsilon(t, 3*0.5+math.MaxUint32, total(vt, nv.RtStats()), 1e-5)

	vt.Unregister(id(0))
	vt.Unregister(id(0))
	vt.Unregister(id(99))
	before := total(vt, nv.RtStats())
	for range 3 {
		nv.Served(one(2, 2), time.Second)
		nv.Failed(one(2, 2))
		nv.UpdateCosts([]uint64{1, 2, 3})
	}
	require.Len(t, w.log.take(), 1, "no longer registered")
	require.InDelta(t, 18, total(vt, nv.RtStats())-before, 0.01, "counted all the same")

	never := vt.GetNode(id(5))
	never.Served(one(1, 7), time.Second)
	require.Len(t, w.log.take(), 1)
	require.InDelta(t, 7, total(vt, never.RtStats()), 1e-5)
	w.clock.Run(10 * time.Minute)
	w.requireSum(vt, 10)

	vt.Stop()
	vt.Stop()
	require.Empty(t, w.log.take())
	writes := w.store.Count("batch")
	for range 3 {
		nv.Served(one(0, 1), time.Second)
		never.Served(one(0, 1), time.Second)
	}
	require.Len(t, w.log.take(), 0, "was logged for these")
	later := vt.Register(id(6))
	later.UpdateCosts([]uint64{1, 1, 1})
	later.Served(one(0, 3), time.Second)
	require.Len(t, w.log.take(), 2)
	require.InDelta(t, 1.5, total(vt, later.RtStats()), 0.01)
	vt.GetNode(id(7)).Failed(one(0, 1))
	w.clock.Run(time.Hour)
	require.Equal(t, writes, w.store.Count("batch"))
	require.Zero(t, w.clock.Timers())
	require.NotZero(t, total(vt, vt.RtStats()))
}

func TestUseAfterStopIsLogged(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	nv := vt.Register(id(0))
	vt.Stop()
	nv.Served(one(0, 2), time.Second)
	nv.Failed(one(0, 2))
	require.Len(t, w.log.take(), 1)
	require.InDelta(t, 2, total(vt, nv.RtStats()), 1e-5)
}

func TestCallersMayReuseTheirSlices(t *testing.T) {
	w := newWorld(t)
	list := []RequestInfo{{"header", 10, 1}, {"body", 10, 2}}
	w.cfg.Requests = list
	prefix := []byte("p")
	w.cfg.Prefix = prefix
	vt := w.start()
	list[0].Name, prefix[0] = "x", 'q'
	require.Equal(t, "header", vt.RequestStats()[0].Name)

	nv := vt.Register(id(0))
	costs := []uint64{1, 100}
	nv.UpdateCosts(costs)
	costs[0], costs[1] = 100, 1
	nv.Served([]ServedRequest{{0, 1000}, {1, 1000}}, time.Second)
	w.clock.Run(10 * time.Hour)
	require.Less(t, vt.RequestStats()[0].ReqValue*50, vt.RequestStats()[1].ReqValue)
	vt.Stop()
	require.Contains(t, w.records(), "pvt:")
}

// A server that asks absurd prices changes what types are worth relative to
// each other in proportion to its share, and the values stay finite.
func TestHostileCostTables(t *testing.T) {
	for _, costs := range [][]uint64{{0, 0, 0}, {math.MaxUint64, 1, 1}, {math.MaxUint64, math.MaxUint64, math.MaxUint64}, {1, 0, math.MaxUint64}} {
		w := newWorld(t)
		vt := w.start()
		nv := vt.Register(id(0))
		nv.UpdateCosts(costs)
		for i := range 3000 {
			nv.Served([]ServedRequest{{uint32(i % 3), 1000}}, time.Second)
		}
		w.clock.Run(100 * time.Hour)
		sum := 0.0
		for _, s := range vt.RequestStats() {
			require.True(t, s.ReqValue >= 0 && s.ReqValue < 1e3, "%v: %v", costs, s)
			require.True(t, s.ReqAmount >= 0 && s.ReqAmount < 1e7)
			sum += s.ReqAmount * s.ReqValue
		}
		require.Greater(t, sum, 1e5)
	}
}

func TestRegisterTwiceKeepsTheSession(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	nv := vt.Register(id(0))
	nv.UpdateCosts([]uint64{1, 2, 300})
	require.Same(t, nv, vt.Register(id(0)))
	require.Equal(t, 3, nv.mu.priced)
	require.Same(t, nv, vt.GetNode(id(0)))
	vt.Unregister(id(0))
	require.Same(t, nv, vt.GetNode(id(0)))
	require.Same(t, nv, vt.Register(id(0)))
	require.Zero(t, nv.mu.priced, "a new session has a new table")
}

func TestNothingRunsBeforeRegisterAndAfterStop(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	require.Zero(t, w.clock.Timers())
	vt.GetNode(id(3))
	require.Zero(t, w.clock.Timers())
	vt.Register(id(0))
	vt.Register(id(1))
	require.Equal(t, 1, w.clock.Timers())
	w.clock.Run(time.Hour)
	require.Equal(t, 1, w.clock.Timers())
	vt.Unregister(id(0))
	vt.Unregister(id(1))
	w.clock.Run(time.Hour)
	require.Zero(t, w.clock.Timers(), "nothing to do")
	vt.Register(id(1)).Served(one(0, 1), 0)
	vt.Unregister(id(1))
	require.Equal(t, 1, w.clock.Timers(), "something to save")
	vt.Stop()
	require.Zero(t, w.clock.Timers())
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"UpdatePeriod":          func(c *Config) { c.UpdatePeriod = -1 },
		"TransferRate":          func(c *Config) { c.TransferRate = math.NaN() },
		"StatsExpirationRate":   func(c *Config) { c.StatsExpirationRate = -1 },
		"OfflineExpirationRate": func(c *Config) { c.OfflineExpirationRate = math.Inf(1) },
		"MaxOffline":            func(c *Config) { c.MaxOffline = -1 },
		"CacheSize":             func(c *Config) { c.CacheSize = -1 },
		"MaxStored":             func(c *Config) { c.MaxStored = -1 },
		"Requests":              func(c *Config) { c.Requests = nil },
	} {
		cfg := newWorld(t).cfg
		change(&cfg)
		vt, err := NewValueTracker(cfg)
		require.Nil(t, vt)
		require.ErrorContains(t, err, "Config."+field)
	}
	cfg, err := (Config{Requests: []RequestInfo{{"a", 1, 1}}}).withDefaults()
	require.NoError(t, err)
	require.Equal(t, mclock.System{}, cfg.Clock)
	require.Equal(t, time.Minute, cfg.UpdatePeriod)
	require.InEpsilon(t, 1/3.6e12, cfg.TransferRate, 1e-9)
	require.InEpsilon(t, 1/3.6e14, cfg.StatsExpirationRate, 1e-9)
	require.InEpsilon(t, 1/3.6e15, cfg.OfflineExpirationRate, 1e-9)
	require.Equal(t, []int{1000, 10000}, []int{cfg.CacheSize, cfg.MaxStored})
}

// Against a model that keeps every answer in floats and knows nothing of
// exponents: random sessions, answers, failures, pauses and restarts.
func TestStatisticsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.cfg.StatsExpirationRate = 1 / float64(time.Hour) // several halvings a test
		w.cfg.CacheSize = 2
		vt := w.start()
		const servers = 4
		model := make([]float64, servers)
		chances := 1.0 // to forget a server that is worth less than one request
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			i := rapid.IntRange(0, servers-1).Draw(rt, "server")
			switch rapid.IntRange(0, 7).Draw(rt, "step") {
			case 0:
				vt.Register(id(i))
			case 1:
				vt.Unregister(id(i))
				chances++
			case 2:
				d := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(rt, "pause"))
				w.clock.Run(d)
				for j := range model {
					model[j] *= math.Exp(-float64(d) / float64(time.Hour))
				}
			case 3:
				vt.Stop()
				vt = w.start()
				chances++
			default:
				n := rapid.Uint32Range(0, 1e6).Draw(rt, "amount")
				if rapid.Bool().Draw(rt, "failed") {
					vt.Register(id(i)).Failed(one(1, n))
				} else {
					vt.Register(id(i)).Served(one(1, n), time.Duration(n))
				}
				model[i] += float64(n) * vt.RequestStats()[1].ReqValue
			}
		}
		sum := 0.0
		for i, want := range model {
			// An answer counts as if given at the start of its period, a minute
			// of an hour at most.
			require.InDelta(rt, want, total(vt, vt.GetNode(id(i)).RtStats()), want*0.02+chances)
			sum += want
		}
		require.InDelta(rt, sum, total(vt, vt.RtStats()), sum*0.02+chances*servers)
		w.requireSum(vt, servers)
	})
}
