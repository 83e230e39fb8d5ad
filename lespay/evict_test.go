package lespay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A thousand sessions that came to nothing leave no records.
func TestWorthlessServersAreNotStored(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	for i := range 1000 {
		nv := vt.Register(id(i))
		if i%2 == 0 {
			nv.Served(one(0, 1), time.Second) // half an average request
		}
		w.clock.Run(30 * time.Second)
		vt.Unregister(id(i))
	}
	w.clock.Run(5 * time.Minute)
	require.Zero(t, w.stored())
	require.Less(t, total(vt, vt.RtStats()), 0.01, "subtracted")
	vt.Stop()
	require.Zero(t, w.stored())
}

func TestServersThatDecayedAreDeleted(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	vt.Register(id(0)).Served(one(1, 10), time.Second)
	vt.Unregister(id(0))
	vt.Register(id(1)) // keeps the tracker running
	w.clock.Run(2 * time.Hour)
	require.Equal(t, 1, w.stored())
	w.clock.Run(240 * time.Hour) // e^2.4 = 11
	require.Zero(t, w.stored())
	require.Less(t, total(vt, vt.RtStats()), 0.01)
	require.Zero(t, total(vt, vt.GetNode(id(0)).RtStats()))
	vt.Stop()
}

// Above the limit those worth least go, what is left of them is subtracted from
// the global statistics, and registered ones stay whatever they are worth.
func TestStoredServersAreBounded(t *testing.T) {
	w := newWorld(t)
	w.cfg.MaxStored, w.cfg.CacheSize = 50, 5
	vt := w.start()
	poor := vt.Register(id(500))
	poor.Served(one(1, 2), time.Second)
	for i := range 200 {
		nv := vt.Register(id(i))
		nv.Served(one(1, uint32(10+(i*37)%200)), time.Second) // all different
		vt.Unregister(id(i))
		w.clock.Run(time.Minute)
		require.LessOrEqual(t, w.stored(), 50)
	}
	require.Equal(t, 50, w.stored())
	again := w.crash().start()
	for i := range 200 {
		worth := (i * 37) % 200
		require.Equal(t, worth >= 151, total(again, again.GetNode(id(i)).RtStats()) > 0, "%d", i)
	}
	require.NotZero(t, total(again, again.GetNode(id(500)).RtStats()))
	w.requireSum(again, 501)
	w.requireSum(vt, 501)
	vt.Stop()
}

// Failures are remembered, and count against a server when it comes to who
// goes first.
func TestFailingServersGoFirst(t *testing.T) {
	w := newWorld(t)
	w.cfg.MaxStored = 2
	vt := w.start()
	vt.Register(id(0)).Failed(one(1, 1000))
	vt.Register(id(1)).Served(one(1, 5), time.Second)
	vt.Unregister(id(0))
	vt.Unregister(id(1))
	w.clock.Run(time.Minute)
	require.Equal(t, 2, w.stored())
	require.NotZero(t, total(vt, vt.GetNode(id(0)).RtStats()))
	vt.Register(id(2)).Served(one(1, 5), time.Second)
	vt.Unregister(id(2))
	w.clock.Run(time.Minute)
	require.Zero(t, total(vt, vt.GetNode(id(0)).RtStats()))
	require.NotZero(t, total(vt, vt.GetNode(id(1)).RtStats()))
	w.requireSum(vt, 3)
	vt.Stop()
}

// A database of other software holds more servers than allowed: the first save
// brings it to the limit. The global statistics keep their difference.
func TestTooManyServersFromBefore(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	for i := range 300 {
		vt.Register(id(i)).Served(one(1, uint32(2+i)), time.Second)
	}
	vt.mu.rtStats.Add(0, 777, vt.StatsExpFactor()) // what it came with
	vt.Stop()
	w.cfg.MaxStored = 100
	vt = w.start()
	vt.Stop()
	require.Equal(t, 100, w.stored())
	vt = w.start()
	var sum float64
	for i := range 300 {
		sum += total(vt, vt.GetNode(id(i)).RtStats())
	}
	require.InDelta(t, 777, total(vt, vt.RtStats())-sum, 0.01)
}

// The order in which servers go does not depend on when it is asked for, and
// asking twice gives the same.
func TestCandidatesAreOrderedByWorth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ix := newIndex()
		all := map[int]ResponseTimeStats{}
		for i := range rapid.IntRange(1, 30).Draw(t, "servers") {
			var rt ResponseTimeStats
			f := ExpFactor(Fixed64(rapid.Int64Range(0, 5<<fixedBits).Draw(t, "offset")))
			rt.Add(time.Second, rapid.Float64Range(0.1, 100).Draw(t, "good"), f)
			rank, total := rt.weightLog2()
			ix.put(id(i), worth{rank, total})
			all[i] = rt
		}
		at := Fixed64(rapid.Int64Range(0, 9<<fixedBits).Draw(t, "now"))
		spent, others := ix.candidates(at, 0)
		require.Len(t, append(spent, others...), len(all))
		var ones ResponseTimeWeights
		for i := range ones {
			ones[i] = 1
		}
		value := func(c candidate) float64 {
			for i, rt := range all {
				if id(i) == c.id {
					return rt.Value(ones, ExpFactor(at))
				}
			}
			panic("unknown server")
		}
		for _, c := range spent {
			require.Less(t, value(c), 1.0001)
		}
		last := 0.9999
		for _, c := range others {
			require.GreaterOrEqual(t, value(c), last*0.9999)
			last = value(c)
		}
		_, none := ix.candidates(at, len(all))
		require.Empty(t, none)
	})
}
