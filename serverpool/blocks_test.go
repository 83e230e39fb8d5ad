package serverpool

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/nodestate"
)

// The building blocks, with a machine of their own.

// blocks is a machine with two flags and a weight.
type blocks struct {
	ns     *nodestate.NodeStateMachine
	a, b   nodestate.Flags
	weight nodestate.Field[uint64]
}

func newBlocks(t *testing.T) *blocks {
	s := &nodestate.Setup{Name: "blocks", Version: 1}
	x := &blocks{a: s.NewFlag("a"), b: s.NewFlag("b"), weight: nodestate.NewField[uint64](s, "weight")}
	x.ns = nodestate.New(s, nodestate.Config{Clock: testutil.NewBubbleClock()})
	t.Cleanup(x.ns.Stop)
	return x
}

func (x *blocks) start(t *testing.T) { require.NoError(t, x.ns.Start()) }

func (x *blocks) set(t *testing.T, n *enode.Node, set, reset nodestate.Flags) {
	t.Helper()
	require.NoError(t, x.ns.SetState(n, set, reset, 0))
}

func fake(i uint64) *enode.Node { return testutil.FakeNode(i, 1) }

func TestQueueIteratorOrder(t *testing.T) {
	for fifo, want := range map[bool][]uint64{true: {1, 3, 4, 2}, false: {2, 4, 3, 1}} {
		synctest.Test(t, func(t *testing.T) {
			x := newBlocks(t)
			it := NewQueueIterator(x.ns, x.a, x.b, fifo, nil)
			x.start(t)
			x.set(t, fake(5), x.a.Or(x.b), nodestate.Flags{}) // never matches
			for i := range uint64(4) {
				x.set(t, fake(i+1), x.a, nodestate.Flags{})
			}
			x.set(t, fake(2), x.b, nodestate.Flags{}) // ceases to match,
			x.set(t, fake(2), nodestate.Flags{}, x.b) // and comes anew
			var got []uint64
			for range want {
				require.True(t, it.Next())
				for i := range uint64(5) {
					if it.Node().ID() == fake(i+1).ID() {
						got = append(got, i+1)
					}
				}
			}
			require.Equal(t, want, got)
			it.Close()
			require.False(t, it.Next())
		})
	}
}

func TestQueueIteratorReturnsTheNewestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBlocks(t)
		it := NewQueueIterator(x.ns, x.a, x.b, true, nil)
		x.start(t)
		x.set(t, testutil.FakeNode(1, 1), x.a, nodestate.Flags{})
		x.set(t, testutil.FakeNode(1, 7), x.a, nodestate.Flags{})
		require.True(t, it.Next())
		require.EqualValues(t, 7, it.Node().Seq())
	})
}

func TestQueueIteratorTellsWhenItIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBlocks(t)
		var calls []bool
		it := NewQueueIterator(x.ns, x.a, x.b, true, func(waiting bool) { calls = append(calls, waiting) })
		x.start(t)
		x.set(t, fake(1), x.a, nodestate.Flags{})
		require.True(t, it.Next())
		require.Empty(t, calls, "nobody had to wait")
		var readers sync.WaitGroup
		var got atomic.Int64
		for range 3 {
			readers.Go(func() {
				if it.Next() {
					got.Add(1)
				}
			})
		}
		synctest.Wait()
		require.Equal(t, []bool{true}, calls)
		x.set(t, fake(2), x.a, nodestate.Flags{})
		synctest.Wait()
		require.True(t, calls[len(calls)-1], "two still wait")
		x.set(t, fake(3), x.a, nodestate.Flags{})
		x.set(t, fake(4), x.a, nodestate.Flags{})
		readers.Wait()
		require.EqualValues(t, 3, got.Load())
		require.False(t, calls[len(calls)-1])
		readers.Go(func() { require.False(t, it.Next()) })
		synctest.Wait()
		require.True(t, calls[len(calls)-1])
		it.Close()
		readers.Wait()
		require.False(t, calls[len(calls)-1])
	})
}

func TestCloseWakesAllReaders(t *testing.T) {
	for name, make := range map[string]func(x *blocks) enode.Iterator{
		"queue": func(x *blocks) enode.Iterator { return NewQueueIterator(x.ns, x.a, x.b, true, nil) },
		"wrs":   func(x *blocks) enode.Iterator { return NewWrsIterator(x.ns, x.a, x.b, x.weight) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newBlocks(t)
				it := make(x)
				x.start(t)
				var readers sync.WaitGroup
				for range 10 {
					readers.Go(func() { require.False(t, it.Next()) })
				}
				synctest.Wait()
				it.Close()
				it.Close()
				readers.Wait()
				x.set(t, fake(1), x.a, nodestate.Flags{})
				require.NoError(t, x.weight.Set(x.ns, fake(1), 5))
				require.False(t, it.Next())
				require.Nil(t, it.Node())
			})
		})
	}
}

func TestWrsIteratorChoosesByWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBlocks(t)
		it := NewWrsIterator(x.ns, x.a, x.b, x.weight)
		x.start(t)
		for i := range uint64(4) { // weights 0 to 3
			x.set(t, fake(i), x.a, nodestate.Flags{})
			require.NoError(t, x.weight.Set(x.ns, fake(i), i))
		}
		x.set(t, fake(9), x.a.Or(x.b), nodestate.Flags{})
		require.NoError(t, x.weight.Set(x.ns, fake(9), 1e9))
		counts := make(map[enode.ID]int)
		for range 6000 {
			require.True(t, it.Next())
			counts[it.Node().ID()]++
		}
		for i := range uint64(4) {
			require.InDelta(t, 1000*i, counts[fake(i).ID()], 150)
		}
		x.set(t, fake(9), nodestate.Flags{}, x.b) // matches now, with the weight that it had
		require.True(t, it.Next())
		require.Equal(t, fake(9).ID(), it.Node().ID())
		require.NoError(t, x.weight.Clear(x.ns, fake(9)))
		require.True(t, it.Next())
		require.NotEqual(t, fake(9).ID(), it.Node().ID())
	})
}

// A node that the machine forgets between the choice and the look-up is passed
// over; the iterator goes on.
func TestIteratorsSurviveNodesThatVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBlocks(t)
		wrs, queue := NewWrsIterator(x.ns, x.a, x.b, x.weight), NewQueueIterator(x.ns, x.a, x.b, true, nil)
		x.start(t)
		gone, there := fake(1), fake(2)
		queue.enqueue(gone.ID(), true)
		x.set(t, there, x.a, nodestate.Flags{})
		require.NoError(t, x.weight.Set(x.ns, there, 1))
		// As it is until the callbacks of the change have run.
		wrs.update(gone.ID(), 1e15)
		for _, it := range []enode.Iterator{wrs, queue} {
			require.True(t, it.Next())
			require.Equal(t, there.ID(), it.Node().ID())
		}
		wrs.update(gone.ID(), 1)
		require.NoError(t, x.weight.Clear(x.ns, there))
		waiting := true
		go func() { wrs.Next(); waiting = false }()
		synctest.Wait()
		require.True(t, waiting, "nothing is left, but it is open")
		wrs.Close()
	})
	synctest.Test(t, func(t *testing.T) { // the same under churn
		x := newBlocks(t)
		wrs := NewWrsIterator(x.ns, x.a, x.b, x.weight)
		x.start(t)
		var churn sync.WaitGroup
		var stop atomic.Bool
		for g := range uint64(2) {
			churn.Go(func() {
				rnd := rand.New(rand.NewPCG(g, 0))
				for i := 0; i < 2000 || !stop.Load(); i++ {
					n := fake(rnd.Uint64N(5))
					x.ns.Operation(func(op nodestate.Op) {
						op.SetState(n, x.a, nodestate.Flags{}, 0)
						x.weight.SetIn(op, n, 1+rnd.Uint64N(9))
					})
					x.ns.SetState(n, nodestate.Flags{}, x.a, 0)
				}
			})
		}
		for range 2000 {
			require.True(t, wrs.Next())
		}
		stop.Store(true)
		churn.Wait()
		wrs.Close()
	})
}

func TestFillSetKeepsTheTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBlocks(t)
		src := newSource(fake(1), fake(2), fake(2), nil, fake(3), fake(4), fake(5))
		fs := NewFillSet(x.ns, src, x.a)
		count := func() (k int) {
			synctest.Wait()
			x.ns.ForEach(x.a, nodestate.Flags{}, func(*enode.Node, nodestate.Flags) { k++ })
			return k
		}
		x.start(t)
		require.Zero(t, count(), "the target is 0 at first")
		fs.SetTarget(3)
		require.Equal(t, 3, count())
		x.set(t, fake(1), nodestate.Flags{}, x.a)
		x.set(t, fake(2), nodestate.Flags{}, x.a)
		require.Equal(t, 3, count())
		fs.SetTarget(1)
		x.set(t, fake(3), nodestate.Flags{}, x.a)
		require.Equal(t, 2, count())
		fs.SetTarget(-5)
		fs.Close()
		fs.Close()
		synctest.Wait()
		require.True(t, src.isClosed())
		fs.SetTarget(10)
		require.Equal(t, 2, count())
	})
}

func TestFillSetReadsAtMost100UselessNodesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBlocks(t)
		busy := newCycle(fake(1))
		fs := NewFillSet(x.ns, busy, x.a)
		fs.SetTarget(2)
		synctest.Wait()
		require.LessOrEqual(t, busy.reads.Load(), int64(100), "a source that yields before the machine starts")
		time.Sleep(time.Minute)
		x.start(t)
		x.set(t, fake(1), x.a, nodestate.Flags{})
		for range 20 {
			before := busy.reads.Load()
			time.Sleep(time.Second)
			require.LessOrEqual(t, busy.reads.Load()-before, int64(100))
			require.Greater(t, busy.reads.Load()-before, int64(40))
		}
		fs.Close()
	})
}

func TestFillSetEndsWithTheMachineOrTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBlocks(t)
		src := newCycle(fake(1), fake(2))
		fs := NewFillSet(x.ns, src, x.a)
		x.start(t)
		fs.SetTarget(10)
		time.Sleep(time.Second)
		x.ns.Stop()
		time.Sleep(time.Second)
		require.True(t, src.isClosed())
		reads := src.reads.Load()
		time.Sleep(time.Minute)
		require.Equal(t, reads, src.reads.Load())
	})
	synctest.Test(t, func(t *testing.T) {
		x := newBlocks(t)
		src := &ending{newSource(fake(1))}
		fs := NewFillSet(x.ns, src, x.a)
		x.start(t)
		fs.SetTarget(10)
		synctest.Wait()
		require.Equal(t, x.a, x.ns.GetState(fake(1)))
		fs.Close()
	})
}
