package lespay

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// busy lets some servers work for a while.
func (w *world) busy(vt *ValueTracker, servers int, d time.Duration) {
	for end := w.clock.Now().Add(d); w.clock.Now() < end; w.clock.Run(20 * time.Second) {
		i := w.rnd.IntN(servers)
		nv := vt.Register(id(i))
		nv.UpdateCosts([]uint64{10 * uint64(i+1), 20 * uint64(i+1), 30 * uint64(i+1)})
		nv.Served(one(uint32(w.rnd.IntN(3)), uint32(1+w.rnd.IntN(50))), time.Duration(w.rnd.ExpFloat64()*1e8))
		if w.rnd.IntN(10) == 0 {
			nv.Failed(one(uint32(w.rnd.IntN(3)), 3))
		}
		if w.rnd.IntN(30) == 0 {
			vt.Unregister(id(i))
		}
	}
}

func TestEverythingIsThereAfterARestart(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	w.busy(vt, 5, 3*time.Hour)
	vt.Stop()
	stats, requests, offset := vt.RtStats(), vt.RequestStats(), vt.StatsExpirer().LogOffset(w.clock.Now())
	again := w.start()
	require.Equal(t, stats, again.RtStats())
	require.Equal(t, requests, again.RequestStats())
	require.Equal(t, offset, again.StatsExpirer().LogOffset(w.clock.Now()))
	for i := range 5 {
		require.Equal(t, vt.GetNode(id(i)).RtStats(), again.GetNode(id(i)).RtStats())
		require.Equal(t, vt.GetNode(id(i)).mu.basket, again.GetNode(id(i)).mu.basket)
	}
	w.requireSum(again, 5)
	again.Stop()
	require.Empty(t, w.log.take())
}

// A process that dies without Stop loses one period at most, and what it
// leaves fits together, again and again.
func TestCrashLosesOnePeriodAndNothingElse(t *testing.T) {
	w := newWorld(t)
	w.cfg.StatsExpirationRate = 1 / float64(3*time.Hour) // halvings on the way
	vt := w.start()
	for range 20 {
		w.busy(vt, 6, time.Hour)
		w.clock.Run(w.cfg.UpdatePeriod + time.Minute)
		saved := vt.RtStats()
		values := make([]ResponseTimeStats, 6)
		for i := range values {
			values[i] = vt.GetNode(id(i)).RtStats()
		}
		vt.Register(id(2)).Served(one(0, 1e6), time.Second) // in the last period

		w = w.crash()
		vt = w.start()
		require.Equal(t, saved, vt.RtStats())
		for i := range values {
			require.Equal(t, values[i], vt.GetNode(id(i)).RtStats())
		}
		w.requireSum(vt, 6)
		require.Empty(t, w.log.take())
	}
}

// What servers hold and what the reference basket got from them are saved
// together: nothing is counted twice after a crash.
func TestCrashCountsNoBasketTwice(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	nv := vt.Register(id(0))
	nv.UpdateCosts([]uint64{1, 2, 3})
	nv.Served(one(0, 100000), time.Second)
	for range 50 {
		w.clock.Run(10 * time.Minute)
		w = w.crash()
		vt = w.start()
		nv = vt.Register(id(0))
		amount := vt.RequestStats()[0].ReqAmount
		held := float64(nv.mu.basket.Items[0].Amount) / 1e6
		factor := vt.StatsExpFactor()
		sum := amount + factor.Value(held, nv.mu.basket.Exp)
		require.InEpsilon(t, 100010*math.Exp(-time.Duration(w.clock.Now()).Hours()/100), sum, 0.001)
	}
	require.Less(t, float64(nv.mu.basket.Items[0].Amount), 1e11*0.01, "it moved")
}

func TestTimeOffCountsTenTimesLess(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	vt.Register(id(0)).Served(one(1, 1000), 0)
	vt.Stop()
	w.off(1000 * time.Hour)
	vt = w.start()
	require.InEpsilon(t, 1000/math.E, total(vt, vt.RtStats()), 1e-5)
	require.InEpsilon(t, 1000/math.E, total(vt, vt.GetNode(id(0)).RtStats()), 1e-5)
	vt.Stop()
}

// The wall clock is set wrong in every way there is, over many restarts. The
// statistics neither end nor stop ageing.
func TestJumpsOfTheWallClock(t *testing.T) {
	years := func(n int) time.Duration { return time.Duration(n) * 365 * 24 * time.Hour }
	start := func(w *world, wall time.Time) float64 {
		w.wall = wall.Add(-time.Duration(w.clock.Now()))
		vt := w.start()
		defer vt.Stop()
		return total(vt, vt.RtStats())
	}
	w := newWorld(t)
	now := w.wall
	vt := w.start()
	vt.Register(id(0)).Served(one(1, 1e6), 0)
	vt.Stop()
	jumped := w.crash()

	v := start(w, time.Unix(1e5, 0))
	require.InEpsilon(t, 1e6, v, 1e-9, "back to 1970: nothing has passed")
	v = start(w, now)
	require.Greater(t, v, 0.2e6, "right again: bounded")
	require.Less(t, v, 1e6, "and not frozen")

	w = jumped
	v = start(w, now.Add(years(40)))
	require.InEpsilon(t, 1e6*math.Exp(-1.44), v, 1e-3, "40 years ahead: 60 days are believed")
	require.InEpsilon(t, v, start(w, now), 1e-9, "right again: not negative")
	aged := start(w, now.Add(100*time.Hour))
	require.InEpsilon(t, v*math.Exp(-0.1), aged, 1e-3, "and it ages on as it should")

	for _, wall := range []time.Time{{}, time.Unix(math.MaxInt64, 0), time.Unix(math.MinInt64, 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		require.Greater(t, start(w.crash(), wall), 0.2*aged)
	}
}

// The application of existing clients passes the same requests in another
// order each time.
func TestRequestListInAnotherOrder(t *testing.T) {
	w := newWorld(t)
	w.cfg.StatsExpirationRate = 1e-30
	w.cfg.OfflineExpirationRate = 1e-30
	price := map[string]uint64{"header": 10, "body": 500, "proof": 70}
	for range 30 {
		rand.New(rand.NewPCG(uint64(w.rnd.Uint32()), 0)).Shuffle(3, func(i, j int) {
			r := w.cfg.Requests
			r[i], r[j] = r[j], r[i]
		})
		vt := w.start()
		nv := vt.Register(id(0))
		costs := make([]uint64, 3)
		for i, r := range w.cfg.Requests {
			costs[i] = price[r.Name]
		}
		nv.UpdateCosts(costs)
		for i, r := range w.cfg.Requests {
			nv.Served(one(uint32(i), uint32(100*price[r.Name])), time.Second)
		}
		w.clock.Run(time.Hour)
		vt.Stop()
	}
	w.clock.Run(0)
	vt := w.start()
	vt.Register(id(0))
	w.clock.Run(30 * time.Hour)
	byName := map[string]RequestStatsItem{}
	for i, s := range vt.RequestStats() {
		require.Equal(t, w.cfg.Requests[i].Name, s.Name)
		byName[s.Name] = s
	}
	for name, p := range price {
		require.InEpsilon(t, 10+3000*p, byName[name].ReqAmount, 0.001, name)
		require.InEpsilon(t, float64(p)/10, byName[name].ReqValue/byName["header"].ReqValue, 0.05, name)
	}
	require.Len(t, vt.maps.lists, 1, "one set of names, one mapping")
}

// After a year of use the log offset is 126 halvings. The application learns
// one more type of request: the mix it has learned is still there.
func TestAYearLaterOneMoreRequestType(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	vt.expirer.SetLogOffset(w.clock.Now(), whole(126))
	nv := vt.Register(id(0))
	nv.UpdateCosts([]uint64{1, 2, 30})
	for range 50 {
		nv.Served([]ServedRequest{{0, 90}, {2, 10}}, time.Second)
		w.clock.Run(time.Hour)
	}
	vt.Stop()
	before := vt.RequestStats()
	require.Greater(t, before[0].ReqAmount, 300.0)

	w.cfg.Requests = []RequestInfo{{"receipt", 20, 2}, {"proof", 10, 3}, {"header", 10, 1}} // body is gone
	vt = w.start()
	after := vt.RequestStats()
	require.InEpsilon(t, before[2].ReqAmount, after[1].ReqAmount, 1e-6)
	require.InEpsilon(t, before[0].ReqAmount, after[2].ReqAmount, 1e-6)
	require.InEpsilon(t, before[2].ReqValue/before[0].ReqValue, after[1].ReqValue/after[2].ReqValue, 1e-5)
	scale := (before[0].ReqAmount*10 + before[2].ReqAmount*10) / 200
	require.InEpsilon(t, 20*scale, after[0].ReqAmount, 1e-5, "in proportion to the known ones")
	held := vt.GetNode(id(0)).mu.basket
	require.Zero(t, held.Items[0], "the server never served one")
	require.NotZero(t, held.Items[1].Amount)
	vt.Stop()

	w.cfg.Requests = newWorld(t).cfg.Requests // and back to the older software
	vt = w.start()
	require.InEpsilon(t, before[0].ReqAmount, vt.RequestStats()[0].ReqAmount, 1e-5)
	require.Len(t, vt.maps.lists, 2, "numbers stay")
	require.Zero(t, vt.maps.current)
	vt.Stop()
}

func TestTwoTrackersInOneStore(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	w.cfg.Prefix = []byte("les/4:")
	b := w.start()
	a.Register(id(0)).Served(one(1, 100), time.Second)
	b.Register(id(0)).Served(one(1, 7), time.Second)
	w.clock.Run(time.Hour)
	b.Stop()
	a.Stop()
	b = w.start()
	require.InEpsilon(t, 7, total(b, b.GetNode(id(0)).RtStats()), 0.02)
	w.cfg.Prefix = nil
	a = w.start()
	require.InEpsilon(t, 100, total(a, a.GetNode(id(0)).RtStats()), 0.02)
	keys := w.records()
	require.Len(t, keys, 4)
	node := id(0)
	require.Contains(t, keys, "les/4:vt:")
	require.Contains(t, keys, "les/4:vtNode:"+string(node[:]))
	require.Contains(t, keys, "vtNode:"+string(node[:]))
}

// Without a store everything lasts as long as the tracker, in the same bounds.
func TestMemoryOnly(t *testing.T) {
	w := newWorld(t)
	w.cfg.Store = nil
	w.cfg.CacheSize, w.cfg.MaxStored = 2, 20
	vt := w.start()
	for i := range 50 {
		vt.Register(id(i)).Served(one(1, uint32(10+i)), time.Second)
		vt.Unregister(id(i))
		w.clock.Run(time.Minute)
	}
	for i := range 50 {
		got := total(vt, vt.GetNode(id(i)).RtStats())
		if i < 30 {
			require.Zero(t, got)
		} else {
			require.InEpsilon(t, 10+i, got, 0.02)
		}
	}
	w.requireSum(vt, 50)
	vt.Stop()
	require.Empty(t, w.log.take())
	require.Empty(t, w.records())
}
