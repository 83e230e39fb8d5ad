package nodestate_test

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// G6: ten thousand operations wait when Stop comes. Each either has taken
// place, with its callbacks, or says that the machine is closed.
func TestStopWithTenThousandWaiting(t *testing.T) {
	const waiting = 10_000
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := lay(t, setup, Config{})
	hold, held := make(chan struct{}), make(chan struct{})
	calls := 0
	ns.SubscribeState(a, func(_ Op, _ *enode.Node, _, to Flags) {
		if to.HasAll(a) {
			calls++
		}
		if calls == 1 && held != nil {
			close(held)
			held = nil
			<-hold
		}
	})
	wasHeld := held
	require.NoError(t, ns.Start())
	var wg sync.WaitGroup
	var done, refused atomic.Int32
	call := func(i int) {
		switch err := ns.SetState(node(uint64(i)), a, none, 0); {
		case err == nil:
			done.Add(1)
		case errors.Is(err, ErrClosed):
			refused.Add(1)
		}
	}
	wg.Go(func() { call(0) })
	<-wasHeld
	var started sync.WaitGroup
	started.Add(waiting)
	for i := range waiting {
		wg.Go(func() {
			started.Done()
			call(i + 1)
		})
	}
	started.Wait()
	wg.Go(ns.Stop)
	close(hold)
	within(t, "shutdown", wg.Wait)
	require.EqualValues(t, waiting+1, done.Load()+refused.Load())
	require.EqualValues(t, done.Load(), calls)
	require.ErrorIs(t, ns.SetState(node(1), a, none, 0), ErrClosed)
}

// Stop at a random moment of heavy traffic of all kinds, many times over.
func TestStopAmongEverything(t *testing.T) {
	for round := range 25 {
		setup := new(Setup)
		a, b := setup.NewPersistentFlag("a"), setup.NewFlag("b")
		f := NewPersistentField(setup, "f", RLPCodec[uint64]())
		clock := new(testutil.Clock)
		store := testutil.NewFaultyStore()
		ns := New(setup, Config{Clock: clock, Store: store, FlushInterval: 3 * time.Millisecond})
		ns.SubscribeState(a, func(op Op, n *enode.Node, _, _ Flags) { op.SetState(n, b, none, time.Millisecond) })
		require.NoError(t, ns.Start())
		var wg sync.WaitGroup
		var traffic atomic.Int32
		for i := range uint64(8) {
			wg.Go(func() {
				for err := error(nil); !errors.Is(err, ErrClosed); traffic.Add(1) {
					n := nodeSeq(i%4, uint64(traffic.Load()))
					switch err = ns.SetState(n, a, b, 2*time.Millisecond); i {
					case 1:
						err = f.Set(ns, n, i)
					case 2:
						err = ns.Persist(n)
					case 3:
						err = ns.Operation(func(op Op) { op.SetState(n, none, a, 0) })
					case 4:
						ns.ForEach(a, b, func(*enode.Node, Flags) {})
						ns.Stats()
					}
				}
			})
		}
		ticking := make(chan struct{})
		wg.Go(func() {
			for {
				select {
				case <-ticking:
					return
				default:
					clock.Run(time.Millisecond)
				}
			}
		})
		for traffic.Load() < int32(round*10) {
			runtime.Gosched()
		}
		within(t, "shutdown", func() {
			ns.Stop()
			close(ticking)
			wg.Wait()
		})
		require.Zero(t, clock.Timers())
	}
}

func TestStopTwiceAndAtOnce(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := lay(t, setup, Config{})
	var finished atomic.Bool
	ns.SubscribeState(setup.OfflineFlag(), func(Op, *enode.Node, Flags, Flags) {
		for range 100 {
			runtime.Gosched()
		}
		finished.Store(true)
	})
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			ns.Stop()
			if !finished.Load() {
				t.Error("Stop returned before the shutdown was over")
			}
		})
	}
	within(t, "stopping ten times", wg.Wait)
	within(t, "stopping again", ns.Stop)
}

func TestStopBeforeStart(t *testing.T) {
	store := testutil.NewFaultyStore()
	ns := lay(t, new(Setup), Config{Store: store})
	within(t, "Stop", ns.Stop)
	require.ErrorIs(t, ns.Start(), ErrClosed)
	require.ErrorIs(t, ns.Operation(func(Op) {}), ErrClosed)
	require.Zero(t, store.Count("iterate")+store.Count("batch"))
}

func TestStartTwice(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := begin(t, setup, Config{})
	require.ErrorIs(t, ns.Start(), ErrStarted)
	within(t, "a later caller", func() { require.NoError(t, ns.SetState(node(1), a, none, 0)) })
	ns.Stop()
	require.ErrorIs(t, ns.Start(), ErrClosed)
}

// After Stop calls are refused, getters find nothing, the store is not touched
// and timers do nothing.
func TestClosedMachine(t *testing.T) {
	store := testutil.NewFaultyStore()
	setup := new(Setup)
	a := setup.NewPersistentFlag("a")
	f := NewPersistentField(setup, "f", RLPCodec[uint64]())
	tb := begin(t, setup, Config{Store: store})
	ns := tb.NodeStateMachine
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.NoError(t, f.Set(ns, node(1), 1))
	ns.Stop()
	touched := func() (n int) {
		for _, op := range []string{"get", "has", "put", "delete", "batch", "iterate"} {
			n += store.Count(op)
		}
		return n
	}
	before := touched()

	require.ErrorIs(t, ns.SetState(node(1), a, none, 0), ErrClosed)
	require.ErrorIs(t, ns.AddTimeout(node(1), a, 1), ErrClosed)
	require.ErrorIs(t, ns.Operation(func(Op) { t.Error("called") }), ErrClosed)
	require.ErrorIs(t, f.Set(ns, node(1), 1), ErrClosed)
	require.ErrorIs(t, f.Clear(ns, node(1)), ErrClosed)
	require.ErrorIs(t, ns.Persist(node(1)), ErrClosed)
	require.True(t, ns.GetState(node(1)).IsEmpty())
	require.Nil(t, ns.GetNode(node(1).ID()))
	_, ok := f.Get(ns, node(1))
	require.False(t, ok)
	ns.ForEach(none, none, func(*enode.Node, Flags) { t.Error("called") })
	require.Zero(t, ns.Stats().Nodes)
	tb.clock.Run(time.Hour)
	require.Equal(t, before, touched())
}

// Stop comes while a timeout's operation runs and others are due: that one ends,
// the others do nothing, and nothing is left of them when Stop returns.
func TestStopWhileTimersFire(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := lay(t, setup, Config{})
	entered, leave := make(chan struct{}), make(chan struct{})
	var resets, offline int
	ns.SubscribeState(a.Or(setup.OfflineFlag()), func(_ Op, _ *enode.Node, from, to Flags) {
		switch {
		case to.Equals(setup.OfflineFlag()):
			offline++
		case to.IsEmpty():
			resets++
			close(entered)
			<-leave
		}
	})
	require.NoError(t, ns.Start())
	for i := range uint64(10) {
		require.NoError(t, ns.SetState(node(i), a, none, time.Second))
	}
	fired, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(fired)
		ns.clock.Run(time.Minute)
	}()
	<-entered
	go func() {
		defer close(stopped)
		ns.Stop()
	}()
	for !errors.Is(ns.Persist(node(99)), ErrClosed) {
		runtime.Gosched() // until Stop has been called
	}
	close(leave)
	within(t, "Stop", func() {
		<-stopped
		<-fired
	})
	require.Equal(t, 1, resets)
	require.Equal(t, 9, offline)
	require.Zero(t, ns.clock.Timers())
}

// The real clock in a bubble: timers fire on goroutines of their own, at every
// moment of Stop.
func TestStopAtEveryMomentOfTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for at := range 20 {
			setup := new(Setup)
			a := setup.NewFlag("a")
			ns := New(setup, Config{Clock: testutil.NewBubbleClock()})
			var stopped atomic.Bool
			ns.SubscribeState(a, func(Op, *enode.Node, Flags, Flags) {
				if stopped.Load() {
					t.Error("callback after Stop")
				}
			})
			require.NoError(t, ns.Start())
			for i := range uint64(10) {
				require.NoError(t, ns.SetState(node(i), a, none, time.Duration(15-i)*time.Millisecond))
			}
			time.Sleep(time.Duration(at) * time.Millisecond)
			ns.Stop()
			stopped.Store(true)
			time.Sleep(time.Minute)
		}
	})
}

// Nothing keeps the machine in memory after Stop: no timer of days to come.
func TestStopCancelsEveryTimer(t *testing.T) {
	setup := new(Setup)
	a := setup.NewPersistentFlag("a")
	ns := begin(t, setup, Config{Store: testutil.NewFaultyStore()})
	for i := range uint64(10) {
		require.NoError(t, ns.SetState(node(i), a, none, time.Duration(i+1)*200*time.Hour))
		require.NoError(t, ns.SetState(node(100+i), a, none, 0))
	}
	require.Equal(t, 2, ns.clock.Timers(), "the alarm and the flush")
	ns.Stop()
	require.Zero(t, ns.clock.Timers())
}

// A machine that was stopped can be collected, though clock and setup live on.
func TestStoppedMachineIsGarbage(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	clock := new(testutil.Clock)
	collected := make(chan struct{})
	func() {
		ns := New(setup, Config{Clock: clock})
		runtime.AddCleanup(ns, func(done chan struct{}) { close(done) }, collected)
		require.NoError(t, ns.Start())
		require.NoError(t, ns.SetState(node(1), a, none, time.Hour))
		ns.Stop()
	}()
	within(t, "collecting a stopped machine", func() {
		for {
			runtime.GC()
			select {
			case <-collected:
				return
			default:
			}
		}
	})
	runtime.KeepAlive(clock)
}

// Callbacks of the shutdown may change states; nobody waits for timeouts that
// they set.
func TestShutdownCallbacksMayChangeThings(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	f := NewField[int](setup, "f")
	ns := lay(t, setup, Config{})
	var tr trace
	ns.SubscribeState(a, func(op Op, n *enode.Node, _, to Flags) {
		if to.IsEmpty() {
			op.SetState(n, b, none, time.Second)
			op.SetState(node(2), b, none, time.Second)
			op.AddTimeout(node(2), b, time.Second)
			f.SetIn(op, n, 1)
		}
	})
	tr.watch(ns, "b", b.Or(setup.OfflineFlag()))
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	within(t, "Stop", ns.Stop)
	require.Equal(t, []string{"b: []→[offline]", "b: [offline]→[offline, b]", "b: []→[b]"}, tr.take())
	require.Zero(t, ns.clock.Timers())
	require.Nil(t, ns.GetNode(node(2).ID()))
}
