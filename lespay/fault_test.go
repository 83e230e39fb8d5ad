package lespay

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

func failing(ops ...string) func(string) bool {
	return func(op string) bool {
		for _, o := range ops {
			if op == o {
				return true
			}
		}
		return false
	}
}

// The disk is full for hours. Nothing in memory is lost, one line a period is
// logged, and when there is room again everything is written.
func TestFailingWritesLoseNothing(t *testing.T) {
	w := newWorld(t)
	w.cfg.CacheSize = 1
	vt := w.start()
	vt.Register(id(0)).Served(one(1, 100), time.Second)
	w.clock.Run(90 * time.Second)
	w.store.FailIf(failing("batch", "put", "delete"))
	for i := range 10 {
		vt.Register(id(i)).Served(one(1, 10), time.Second)
		vt.Unregister(id(i))
	}
	w.log.take()
	w.clock.Run(time.Hour)
	lines := w.log.take()
	require.Len(t, lines, 60)
	require.Contains(t, lines[0], testutil.ErrInjected.Error())
	for i := range 10 { // none was dropped from memory, where more than one does not fit the cache
		require.InEpsilon(t, map[bool]float64{true: 110, false: 10}[i == 0], total(vt, vt.GetNode(id(i)).RtStats()), 0.05)
	}
	w.requireSum(vt, 10)
	w.requireSum(w.crash().start(), 10)

	w.store.FailIf(nil)
	w.clock.Run(2 * time.Minute)
	require.Empty(t, w.log.take())
	saved := w.crash().start()
	require.Equal(t, vt.RtStats(), saved.RtStats())
	w.requireSum(saved, 10)
	w.store.FailIf(failing("batch"))
	vt.Stop()
	require.Len(t, w.log.take(), 1)
}

// The bounds hold while nothing can be deleted, and what is removed is
// subtracted once however often the deletion has to be tried.
func TestFailingDeletions(t *testing.T) {
	w := newWorld(t)
	w.cfg.MaxStored, w.cfg.CacheSize = 10, 3
	vt := w.start()
	for i := range 10 {
		vt.Register(id(i)).Served(one(1, uint32(10+i)), time.Second)
		vt.Unregister(id(i))
	}
	w.clock.Run(time.Minute)
	require.Equal(t, 10, w.stored())
	w.store.FailIf(failing("batch"))
	for i := 10; i < 40; i++ {
		vt.Register(id(i)).Served(one(1, uint32(10+i)), time.Second)
		vt.Unregister(id(i))
		w.clock.Run(time.Minute)
		require.LessOrEqual(t, len(vt.mu.nodes), 11)
	}
	w.requireSum(vt, 40)
	require.Zero(t, total(vt, vt.GetNode(id(3)).RtStats()), "gone, although still on the disk")
	vt.Register(id(3)).Served(one(1, 500), time.Second) // and comes back
	w.store.FailIf(nil)
	w.clock.Run(time.Minute) // one batch deletes the old records and writes the new one
	require.LessOrEqual(t, w.stored(), 10)
	w.requireSum(vt, 40)
	again := w.crash().start()
	w.requireSum(again, 40)
	require.InEpsilon(t, 500, total(again, again.GetNode(id(3)).RtStats()), 0.01)
	vt.Stop()
}

// A record that cannot be read is not taken for one that is not there: what
// the server does now is added to it when it can be read.
func TestFailingReads(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	vt.Register(id(0)).Served(one(1, 100), time.Second)
	w.clock.Run(time.Minute)
	vt.Stop()

	vt = w.start()
	w.store.FailIf(failing("get", "has"))
	require.Zero(t, total(vt, vt.GetNode(id(0)).RtStats()))
	require.Len(t, w.log.take(), 1)
	nv := vt.Register(id(0))
	nv.UpdateCosts([]uint64{1, 2, 3})
	nv.Served(one(1, 7), time.Second)
	require.InDelta(t, 7, total(vt, nv.RtStats()), 0.1)
	w.log.take()
	w.clock.Run(10 * time.Minute)
	require.Len(t, w.log.take(), 10, "one a period")
	crashed := w.crash().start()
	require.InEpsilon(t, 100, total(crashed, crashed.GetNode(id(0)).RtStats()), 0.01)
	w.requireSum(crashed, 1)

	w.store.FailIf(nil)
	w.clock.Run(time.Minute)
	require.InEpsilon(t, 107, total(vt, nv.RtStats()), 0.01)
	require.InEpsilon(t, 107, total(vt, vt.RtStats()), 0.01)
	require.Same(t, nv, vt.GetNode(id(0)))
	w.requireSum(w.crash().start(), 1)
	vt.Stop()
	require.Empty(t, w.log.take())
}

// Counting for a server that is not registered while its record cannot be read
// is added later too.
func TestFailingReadsOfUnregisteredServers(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	nv := vt.Register(id(0))
	nv.Served(one(1, 100), time.Second)
	vt.Stop()
	vt = w.start()
	w.store.FailIf(failing("get", "has"))
	stale := vt.GetNode(id(0))
	stale.Served(one(1, 7), time.Second)
	vt.Register(id(1)) // unread, and nothing to add: forgotten again
	vt.Unregister(id(1))
	w.store.FailIf(nil)
	w.clock.Run(2 * time.Minute)
	require.InEpsilon(t, 107, total(vt, vt.GetNode(id(0)).RtStats()), 0.01)
	w.requireSum(vt, 2)
	vt.Stop()
}

func TestFailingStart(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	vt.Register(id(0)).Served(one(1, 100), time.Second)
	vt.Stop()

	w.store.FailIf(failing("get", "has"))
	_, err := NewValueTracker(w.cfg)
	require.ErrorIs(t, err, testutil.ErrInjected)
	require.ErrorContains(t, err, "Config.Store")

	w.store.FailIf(failing("iterate"))
	vt = w.start() // the servers cannot be listed, but they are found
	require.Len(t, w.log.take(), 1)
	require.InEpsilon(t, 100, total(vt, vt.GetNode(id(0)).RtStats()), 0.01)
	w.store.FailIf(nil)
	require.InEpsilon(t, 100, total(vt, vt.Register(id(0)).RtStats()), 0.01)
	vt.Stop()

	require.NoError(t, w.store.Delete([]byte(globalKey)))
	w.store.FailIf(failing("iterate"))
	_, err = NewValueTracker(w.cfg)
	require.ErrorIs(t, err, testutil.ErrInjected, "nothing to go by")
}

// Reading statistics does no I/O, and a period in which nothing happened
// neither.
func TestReadingNeverTouchesTheStore(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	nv := vt.Register(id(0))
	nv.Served(one(1, 100), time.Second)
	w.clock.Run(200 * time.Hour) // the basket has moved
	nv.Served(one(1, 100), time.Second)
	w.clock.Run(200 * time.Hour)
	ops := func() (sum int) {
		for _, op := range []string{"get", "has", "put", "delete", "batch", "iterate"} {
			sum += w.store.Count(op)
		}
		return
	}
	before := ops()
	for range 100 {
		vt.RtStats()
		vt.RequestStats()
		vt.StatsExpFactor()
		vt.GetNode(id(0)).RtStats()
		vt.GetNode(id(1)).RtStats()
		w.clock.Run(time.Minute)
	}
	require.Equal(t, before, ops())
	nv.Served(one(1, 1), time.Second)
	w.clock.Run(time.Minute)
	require.Equal(t, before+1, ops(), "one batch")
	vt.Stop()
	require.Equal(t, before+2, ops(), "and one at the end")
	require.Zero(t, w.store.Count("put"))
}

// A server that is not in memory is read once, and then it is.
func TestRecentServersStayInMemory(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	for i := range 20 {
		vt.Register(id(i)).Served(one(1, 100), time.Second)
	}
	vt.Stop()
	w.cfg.CacheSize = 10
	vt = w.start()
	before := w.store.Count("get")
	for range 50 {
		for i := range 10 {
			require.NotZero(t, total(vt, vt.GetNode(id(i)).RtStats()))
		}
	}
	require.Equal(t, 10, w.store.Count("get")-before)
	vt.GetNode(id(10))
	require.Equal(t, 11, w.store.Count("get")-before)
	require.Equal(t, 10, vt.mu.cache.Len())
}

// While a write hangs, everything but Stop goes on.
func TestNobodyWaitsForTheDisk(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	for i := range 3 {
		vt.Register(id(i)).Served(one(1, 100), time.Second)
	}
	vt.Stop()
	vt = w.start()
	nv := vt.Register(id(0))
	nv.Served(one(1, 5), time.Second)

	release := w.store.Block()
	updated := make(chan struct{})
	go func() { w.clock.Run(time.Minute); close(updated) }()
	require.Eventually(t, func() bool { return w.store.Count("batch") == 2 }, 10*time.Second, time.Millisecond)
	nv.Served(one(1, 5), time.Second)
	nv.UpdateCosts([]uint64{1, 2, 3})
	vt.RtStats()
	vt.RequestStats()
	vt.GetNode(id(1))
	vt.Register(id(2))
	vt.Register(id(9)).Failed(one(0, 1))
	vt.Unregister(id(0)) // its copy is being written

	var released atomic.Bool
	stopped := make(chan bool)
	go func() { vt.Stop(); stopped <- released.Load() }()
	require.Eventually(t, func() bool {
		vt.mu.Lock()
		defer vt.mu.Unlock()
		return vt.mu.stopped
	}, 10*time.Second, time.Millisecond)
	vt.GetNode(id(1)) // still nobody waits
	released.Store(true)
	release()
	<-updated
	require.True(t, <-stopped, "Stop waits for the write under way")
	again := w.start()
	require.InEpsilon(t, 110, total(again, again.GetNode(id(0)).RtStats()), 0.01)
	w.requireSum(again, 10)
	require.Empty(t, strings.Join(w.log.take(), "\n"))
}

// The write that carries a server fails after the server left: it is tried
// again all the same.
func TestServerLeavesWhileItsRecordIsWritten(t *testing.T) {
	w := newWorld(t)
	w.cfg.CacheSize = 1
	vt := w.start()
	vt.Register(id(0)).Served(one(1, 100), time.Second)
	w.store.FailIf(func(op string) bool {
		if op == "batch" {
			vt.Unregister(id(0))
			return true
		}
		return false
	})
	w.clock.Run(time.Minute)
	vt.GetNode(id(7)) // fills the cache
	w.store.FailIf(nil)
	w.clock.Run(time.Minute)
	again := w.crash().start()
	require.InEpsilon(t, 100, total(again, again.GetNode(id(0)).RtStats()), 0.01)
	w.requireSum(again, 8)
	vt.Stop()
}
