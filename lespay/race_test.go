package lespay

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lespool/lespool/internal/testutil"
)

func TestMain(m *testing.M) {
	// A closed goleveldb keeps this goroutine for another second.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

// Everything at once, with a small cache and a low limit, so that servers come
// and go under way. Afterwards nothing is lost and the sum is right.
func TestEverythingAtOnce(t *testing.T) {
	w := newWorld(t)
	w.cfg.CacheSize, w.cfg.MaxStored = 2, 12
	vt := w.start()
	const servers = 20
	var wg sync.WaitGroup
	for g := range 6 {
		rnd := rand.New(rand.NewPCG(uint64(g), 9))
		wg.Go(func() {
			for range 1500 {
				i := rnd.IntN(servers)
				switch rnd.IntN(10) {
				case 0:
					vt.Unregister(id(i))
				case 1:
					vt.RtStats()
				case 2:
					vt.RequestStats()
				case 3:
					vt.GetNode(id(i)).RtStats()
				case 4:
					vt.GetNode(id(i)).Served(one(1, 2), time.Second)
				case 5:
					vt.Register(id(i)).UpdateCosts([]uint64{1, uint64(i), 3})
				case 6:
					vt.Register(id(i)).Failed(one(1, 1))
				case 7:
					if err := vt.Forget(id(i)); err != nil {
						t.Error(err)
					}
				default:
					vt.Register(id(i)).Served(one(uint32(rnd.IntN(3)), 3), time.Duration(rnd.Int64N(1e9)))
				}
			}
		})
	}
	wg.Go(func() {
		for range 100 {
			w.clock.Run(30 * time.Second)
		}
	})
	wg.Wait()
	w.requireSum(vt, servers)
	for range 3 {
		wg.Go(vt.Stop)
	}
	for i := range servers {
		wg.Go(func() { vt.Register(id(i)).Served(one(1, 1), time.Second) })
		wg.Go(func() { vt.GetNode(id(i)).RtStats() })
		wg.Go(func() { w.clock.Run(time.Minute) })
	}
	wg.Wait()
	writes := w.store.Count("batch") + w.store.Count("get")
	w.clock.Run(time.Hour)
	vt.update() // of a timer that had fired before Stop
	for i := range servers {
		vt.GetNode(id(i))
	}
	require.Equal(t, writes, w.store.Count("batch")+w.store.Count("get"), "nothing touches the store after Stop")
	again := w.start()
	w.requireSum(again, servers)
	require.LessOrEqual(t, w.stored(), servers)
}

// A server that is asked for by many at once is read once, and all get the same
// tracker.
func TestOneTrackerForOneServer(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	vt.Register(id(0)).Served(one(1, 100), time.Second)
	vt.Stop()
	vt = w.start()
	before := w.store.Count("get")
	var wg sync.WaitGroup
	found := make([]*NodeValueTracker, 16)
	for i := range found {
		wg.Go(func() {
			if i%2 == 0 {
				found[i] = vt.GetNode(id(0))
			} else {
				found[i] = vt.Register(id(0))
			}
		})
	}
	wg.Wait()
	for _, nv := range found {
		require.Same(t, found[0], nv)
	}
	require.Equal(t, 1, w.store.Count("get")-before)
	vt.Stop()
}

// In real time's stead: timers of the runtime, goroutines of their own.
func TestUpdatesOnRuntimeTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cfg.Clock = testutil.NewBubbleClock()
		vt := w.start()
		vt.Register(id(0)).Served(one(1, 100), time.Second)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, w.store.Count("batch"))
		saved := w.crash().start()
		require.InEpsilon(t, 100, total(saved, saved.RtStats()), 0.01)
		vt.Stop()
		time.Sleep(time.Hour)
		require.Equal(t, 2, w.store.Count("batch"))
	})
}

func TestServedDoesNotAllocate(t *testing.T) {
	vt := newWorld(t).start()
	nv := vt.Register(id(0))
	nv.UpdateCosts([]uint64{1, 2, 3})
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		nv.Served([]ServedRequest{{0, 1}, {1, 5}}, 70*time.Millisecond)
		nv.Failed([]ServedRequest{{2, 1}})
	}))
}
