package nodestate_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// G4: a thousand goroutines at once; each operation runs to its end on the
// goroutine that started it, and never two at a time.
func TestOneOperationAtATime(t *testing.T) {
	const callers, rounds = 1000, 20
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	ns := lay(t, setup, Config{})
	var (
		running atomic.Int32
		calls   int // unguarded: the race detector would find a second operation
		current *enode.Node
	)
	note := func(n *enode.Node) {
		if running.Add(1) != 1 {
			t.Error("two callbacks at once")
		}
		calls++
		running.Add(-1)
	}
	ns.SubscribeState(a, func(op Op, n *enode.Node, _, _ Flags) {
		note(n)
		current = n
		op.SetState(n, b, none, 0)
	})
	ns.SubscribeState(b, func(op Op, n *enode.Node, _, to Flags) {
		note(n)
		if n != current {
			t.Error("a foreign change inside an operation")
		}
		op.SetState(n, none, b, 0)
	})
	require.NoError(t, ns.Start())
	var wg sync.WaitGroup
	for i := range uint64(callers) {
		wg.Go(func() {
			n := node(i)
			for range rounds {
				if ns.SetState(n, a, none, 0) != nil || ns.SetState(n, none, a.Or(b), 0) != nil {
					t.Error("refused")
				}
			}
		})
	}
	within(t, "a thousand callers", wg.Wait)
	require.Zero(t, ns.Stats().Nodes)
	require.GreaterOrEqual(t, calls, callers*rounds*4)
}

// Callbacks run on the goroutine that started the operation: what that one
// keeps on its stack needs no lock.
func TestCallbacksRunOnTheCallersGoroutine(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := lay(t, setup, Config{})
	byCaller := make([]int, 8)
	ns.SubscribeState(a, func(_ Op, n *enode.Node, _, _ Flags) {
		if n.Seq() > 0 {
			byCaller[n.Seq()-1]++ // unguarded, read by that caller without a lock below
		}
	})
	require.NoError(t, ns.Start())
	var wg sync.WaitGroup
	for i := range byCaller {
		wg.Go(func() {
			n := nodeSeq(uint64(i), uint64(i+1))
			for round := range 100 {
				if err := ns.SetState(n, a, none, 0); err != nil || byCaller[i] != 2*round+1 {
					t.Errorf("caller %d, round %d: %d calls, %v", i, round, byCaller[i], err)
				}
				if err := ns.SetState(n, none, a, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// blocked starts an operation whose callback waits, and returns when it does.
func blocked(t *testing.T, setup *Setup, config Config, flag Flags) (ns *table, release func()) {
	ns = lay(t, setup, config)
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	ns.SubscribeState(flag, func(Op, *enode.Node, Flags, Flags) {
		once.Do(func() {
			close(entered)
			<-leave
		})
	})
	require.NoError(t, ns.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ns.SetState(node(1), flag, none, 0)
	}()
	<-entered
	return ns, func() {
		close(leave)
		<-done
	}
}

// G5, and Persist, which waits for no operation either.
func TestReadersDoNotWaitForCallbacks(t *testing.T) {
	setup := new(Setup)
	a := setup.NewPersistentFlag("a")
	f := NewField[int](setup, "f")
	store := testutil.NewFaultyStore()
	ns, release := blocked(t, setup, Config{Store: store}, a)
	defer release()
	within(t, "a reader", func() {
		require.Equal(t, "[a]", ns.GetState(node(1)).String(), "changes show at once")
		require.NotNil(t, ns.GetNode(node(1).ID()))
		f.Get(ns.NodeStateMachine, node(1))
		seen := 0
		ns.ForEach(a, none, func(*enode.Node, Flags) { seen++ })
		for range ns.All(none, none) {
			seen++
		}
		require.Equal(t, 2, seen)
		require.Equal(t, 1, ns.Stats().Nodes)
		require.NoError(t, ns.Persist(nodeSeq(1, 8)))
		require.EqualValues(t, 8, ns.GetNode(node(1).ID()).Seq())
	})
	require.Equal(t, 1, store.Len())
}

// Getters, and Persist, from within callbacks of all kinds.
func TestReadersInsideCallbacks(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[int](setup, "f")
	ns := lay(t, setup, Config{})
	calls := 0
	read := func(n *enode.Node) {
		calls++
		ns.GetState(n)
		ns.GetNode(n.ID())
		f.Get(ns.NodeStateMachine, n)
		ns.ForEach(none, none, func(n *enode.Node, _ Flags) { ns.GetState(n) })
		ns.Stats()
		ns.Persist(n)
	}
	ns.SubscribeState(a, func(_ Op, n *enode.Node, _, _ Flags) { read(n) })
	f.Subscribe(ns.NodeStateMachine, func(_ Op, n *enode.Node, _ Flags, _, _ Value[int]) { read(n) })
	require.NoError(t, ns.Start())
	within(t, "a callback", func() {
		require.NoError(t, ns.Operation(func(op Op) {
			op.SetState(node(1), a, none, 0)
			f.SetIn(op, node(1), 1)
			read(node(1))
		}))
		ns.Stop()
	})
	require.Equal(t, 5, calls)
}

// Readers run while nodes come and go, and never see a half-made one.
func TestReadersAmongWriters(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	f := NewField[[2]uint64](setup, "f")
	tb := begin(t, setup, Config{})
	ns := tb.NodeStateMachine
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := uint64(0); !stop.Load(); i++ {
				if v, _ := f.Get(ns, node(i%50)); v[0] != v[1] {
					t.Error("torn value", v)
				}
				if st := ns.GetState(node(i % 50)); !st.IsEmpty() && st.HasAll(a) == st.HasAll(b) {
					t.Error("never existed:", st)
				}
				if i%100 == 0 {
					for n, st := range ns.All(a, b) {
						if n == nil || !st.Equals(a) {
							t.Error(n, st)
						}
					}
				}
			}
		})
	}
	for i := range uint64(4000) {
		n := node(i % 50)
		require.NoError(t, ns.Operation(func(op Op) {
			op.SetState(n, a, b, 0)
			f.SetIn(op, n, [2]uint64{i, i})
			op.SetState(n, b, a, 0)
			if i%3 == 0 {
				op.SetState(n, none, b, 0)
			}
		}))
	}
	stop.Store(true)
	wg.Wait()
}
