package lespay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What was forgotten is gone at once, from the sum too, and from the disk with
// the next update; what others did stays.
func TestForgottenServerLeavesNothing(t *testing.T) {
	for name, state := range map[string]func(w *world, vt *ValueTracker) *ValueTracker{
		"just served": func(_ *world, vt *ValueTracker) *ValueTracker { return vt },
		"saved":       func(w *world, vt *ValueTracker) *ValueTracker { w.clock.Run(2 * time.Minute); return vt },
		"not in memory": func(w *world, vt *ValueTracker) *ValueTracker {
			vt.Stop()
			return w.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			vt := w.start()
			for i := range 2 {
				vt.Register(id(i)).Served(one(1, 100), 100*time.Millisecond)
				vt.Unregister(id(i))
			}
			vt = state(w, vt)
			require.NoError(t, vt.Forget(id(0)))
			require.Zero(t, total(vt, vt.GetNode(id(0)).RtStats()))
			require.InEpsilon(t, 100, total(vt, vt.RtStats()), 0.01)
			w.clock.Run(2 * time.Minute)
			require.Equal(t, 1, w.stored())
			w.requireSum(vt, 2)
			vt.Stop()
			again := w.start()
			require.Zero(t, total(again, again.GetNode(id(0)).RtStats()))
			require.InEpsilon(t, 100, total(again, again.GetNode(id(1)).RtStats()), 0.01)
			w.requireSum(again, 2)
		})
	}
}

func TestForgettingARegisteredServerGoesOn(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	nv := vt.Register(id(0))
	nv.Served(one(1, 100), 100*time.Millisecond)
	require.NoError(t, vt.Forget(id(0)))
	require.Zero(t, total(vt, nv.RtStats()))
	nv.Served(one(1, 10), 100*time.Millisecond)
	w.clock.Run(2 * time.Minute)
	vt.Unregister(id(0))
	vt.Stop()
	again := w.start()
	require.InEpsilon(t, 10, total(again, again.GetNode(id(0)).RtStats()), 0.01)
	w.requireSum(again, 1)
	require.Empty(t, w.log.take())
}

func TestForgettingTheUnknownAndTooLate(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	require.NoError(t, vt.Forget(id(0)))
	require.Zero(t, w.clock.Timers(), "nothing to do")
	vt.Register(id(0)).Served(one(1, 100), time.Second)
	vt.Stop()
	require.ErrorIs(t, vt.Forget(id(0)), ErrStopped)
	require.Equal(t, 1, w.stored())
}

// A record that cannot be read cannot be subtracted, so it stays.
func TestForgettingNeedsTheRecord(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	vt.Register(id(0)).Served(one(1, 100), time.Second)
	vt.Stop()
	vt = w.start()
	w.store.FailIf(func(op string) bool { return op == "get" || op == "has" })
	require.Error(t, vt.Forget(id(0)))
	w.store.FailIf(nil)
	require.NotZero(t, total(vt, vt.GetNode(id(0)).RtStats()))
	require.NoError(t, vt.Forget(id(0)))
	w.clock.Run(2 * time.Minute)
	require.Zero(t, w.stored())
	w.requireSum(vt, 1)
	vt.Stop()
}
