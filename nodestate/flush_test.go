package nodestate_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// crash returns what a process that starts now would find on disk.
func crash(t testing.TB, store *testutil.FaultyStore) map[string]string {
	t.Helper()
	copied := testutil.NewFaultyStore()
	it := store.Database.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		require.NoError(t, copied.Put(it.Key(), it.Value()))
	}
	s := newSchema()
	ns := begin(t, s.Setup, Config{Store: copied, Prefix: []byte(prefix)})
	found := make(map[string]string)
	ns.ForEach(none, none, func(n *enode.Node, st Flags) {
		num, ok := s.num.Get(ns.NodeStateMachine, n)
		found[n.ID().TerminalString()] = st.String() + show(Value[uint64]{V: num, Ok: ok})
	})
	return found
}

func storing(t testing.TB, store Store, interval time.Duration) (*schema, *table) {
	s := newSchema()
	return s, begin(t, s.Setup, Config{Store: store, Prefix: []byte(prefix), FlushInterval: interval})
}

func name(i uint64) string { return node(i).ID().TerminalString() }

func TestFlushInterval(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	require.Zero(t, ns.clock.Timers(), "nothing is dirty")
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	ns.clock.Run(4 * time.Second)
	require.NoError(t, ns.SetState(node(2), s.b, none, 0))
	require.NoError(t, s.num.Set(ns.NodeStateMachine, node(2), 3))
	require.NoError(t, ns.SetState(node(3), s.unstored, none, 0))
	ns.clock.Run(6*time.Second - 1)
	require.Empty(t, crash(t, store))
	ns.clock.Run(1)
	require.Equal(t, map[string]string{name(1): "[a]-", name(2): "[b]3"}, crash(t, store))
	require.Equal(t, 1, store.Count("batch"), "one batch for all")
	require.Zero(t, store.Count("put"))
	require.Zero(t, ns.clock.Timers())

	require.NoError(t, ns.SetState(node(1), none, s.a, 0))
	require.NoError(t, ns.SetState(node(3), s.unstored, none, 0), "no change")
	ns.clock.Run(time.Minute)
	require.Equal(t, map[string]string{name(2): "[b]3"}, crash(t, store))
	require.Equal(t, 2, store.Count("batch"))

	// A field alone makes a node dirty, one that is not stored does not.
	require.NoError(t, s.num.Set(ns.NodeStateMachine, node(2), 4))
	ns.clock.Run(defaultFlush)
	require.Equal(t, map[string]string{name(2): "[b]4"}, crash(t, store))
	require.NoError(t, s.volatile.Set(ns.NodeStateMachine, node(2), 4))
	require.Zero(t, ns.clock.Timers())
}

func TestFlushIntervalIsAnOption(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, time.Second)
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	ns.clock.Run(time.Second)
	require.Len(t, crash(t, store), 1)
}

func TestFlushAtStop(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, FlushAtStop)
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	require.NoError(t, ns.SetState(node(2), s.a, none, 0))
	require.Zero(t, ns.clock.Timers())
	require.NoError(t, ns.Persist(node(2)))
	require.Equal(t, map[string]string{name(2): "[a]-"}, crash(t, store))
	ns.Stop()
	require.Len(t, crash(t, store), 2)
}

// Nodes that come and go leave no list of themselves behind.
func TestForgottenNodesDoNotWaitForAFlush(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, FlushAtStop)
	for i := range uint64(1000) {
		require.NoError(t, ns.SetState(node(i), s.a, none, 0))
		if i%3 != 0 {
			require.NoError(t, ns.SetState(node(i/2), none, s.a, 0))
		}
	}
	require.Equal(t, ns.Stats().Nodes, ns.Stats().Unwritten)
	ns.ForEach(none, none, func(n *enode.Node, _ Flags) { require.NoError(t, ns.SetState(n, none, s.a, 0)) })
	require.Zero(t, ns.Stats().Unwritten)
	ns.Stop()
	require.Zero(t, store.Count("batch"))
}

// A persistent flag is stored while it has no timeout, and only then.
func TestFlagsWithTimeoutAreNotStored(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	check := func(want string) {
		t.Helper()
		ns.clock.Run(defaultFlush)
		require.Equal(t, want, crash(t, store)[name(1)])
	}
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	require.NoError(t, ns.SetState(node(1), s.b, none, time.Hour))
	check("[a]-")
	require.NoError(t, ns.SetState(node(1), s.b, none, 0))
	check("[a, b]-")
	require.NoError(t, ns.AddTimeout(node(1), s.a.Or(s.b), time.Hour))
	check("")
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	check("[a]-")
	require.NoError(t, ns.Persist(node(1)))
	check("[a]-")
	ns.clock.Run(time.Hour)
	check("[a]-")
}

// Persist writes one node, now, with its newest record.
func TestPersist(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	require.NoError(t, ns.SetState(node(2), s.a, none, 0))
	require.NoError(t, ns.SetState(node(3), s.unstored, none, 0))
	require.NoError(t, ns.Persist(nodeSeq(1, 9)))
	require.NoError(t, ns.Persist(node(3)), "nothing to store")
	require.NoError(t, ns.Persist(node(4)), "unknown")
	require.Equal(t, map[string]string{name(1): "[a]-"}, crash(t, store))
	require.Nil(t, ns.GetNode(node(4).ID()))
	ns.Stop()
	_, ns = storing(t, store, 0)
	require.EqualValues(t, 9, ns.GetNode(node(1).ID()).Seq())
}

func TestStoredIsTheStateBeforeShutdown(t *testing.T) {
	store := testutil.NewFaultyStore()
	s := newSchema()
	ns := lay(t, s.Setup, Config{Store: store, Prefix: []byte(prefix)})
	ns.SubscribeState(s.OfflineFlag(), func(op Op, n *enode.Node, _, _ Flags) {
		op.SetState(n, s.b, s.a, 0)
		s.num.SetIn(op, n, 99)
		op.SetState(node(2), s.b, none, 0)
		require.ErrorIs(t, ns.Persist(n), ErrClosed)
	})
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	require.NoError(t, s.num.Set(ns.NodeStateMachine, node(1), 1))
	ns.Stop()
	require.Equal(t, map[string]string{name(1): "[a]1"}, crash(t, store))
}

// Persist at the very moment of Start and of Stop never takes a node from the
// store.
func TestPersistDuringStartAndStop(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	for i := range uint64(300) {
		require.NoError(t, ns.SetState(node(i), s.a, none, 0))
		require.NoError(t, s.num.Set(ns.NodeStateMachine, node(i), i))
	}
	ns.Stop()
	for range 12 {
		s := newSchema()
		ns := lay(t, s.Setup, Config{Store: store, Prefix: []byte(prefix)})
		var wg sync.WaitGroup
		done := make(chan struct{})
		wg.Go(func() {
			for i := uint64(0); ; i++ {
				select {
				case <-done:
					return
				default:
					ns.Persist(node(i % 300))
				}
			}
		})
		require.NoError(t, ns.Start())
		ns.Stop()
		close(done)
		wg.Wait()
		found := crash(t, store)
		require.Len(t, found, 300)
		require.Equal(t, "[a]123", found[name(123)])
	}
}

// A store that refuses everything: operations go on, one line an interval, and
// all is written when it works again.
func TestFailingStoreIsTriedAgain(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	store.FailIf(func(string) bool { return true })
	for second := range uint64(60) {
		require.NoError(t, ns.SetState(node(second), s.a, none, 0))
		ns.clock.Run(time.Second)
	}
	logged := ns.log.take()
	require.Len(t, logged, 6)
	require.Contains(t, logged[5], "waiting=60")
	require.Equal(t, 60, ns.Stats().Nodes)
	require.Equal(t, 60, ns.Stats().Unwritten)
	require.NoError(t, ns.SetState(node(0), none, s.a, 0), "a node that was never written goes")
	store.FailIf(nil)
	ns.clock.Run(defaultFlush)
	require.Len(t, crash(t, store), 59)
	require.Zero(t, ns.Stats().Unwritten)
	require.Zero(t, ns.clock.Timers())
}

// A Persist that failed is tried again though no operation comes after it.
func TestFailedPersistIsTriedAgain(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	ns.clock.Run(defaultFlush)
	require.Zero(t, ns.clock.Timers())
	store.FailIf(func(string) bool { return true })
	require.ErrorIs(t, ns.Persist(nodeSeq(1, 7)), testutil.ErrInjected)
	store.FailIf(nil)
	ns.clock.Run(defaultFlush)
	ns = begin(t, newSchema().Setup, Config{Store: store, Prefix: []byte(prefix)})
	require.EqualValues(t, 7, ns.GetNode(node(1).ID()).Seq())
}

// Every n-th write fails; what counts is what is there in the end.
func TestStoreThatFailsNowAndThen(t *testing.T) {
	for every := 1; every <= 5; every++ {
		store := testutil.NewFaultyStore()
		writes := 0
		store.FailIf(func(op string) bool {
			writes++
			return op == "batch" && writes%every == 0 && writes < 40
		})
		s, ns := storing(t, store, time.Second)
		want := make(map[string]string)
		for i := range uint64(100) {
			require.NoError(t, ns.SetState(node(i), s.a, none, 0))
			require.NoError(t, s.num.Set(ns.NodeStateMachine, node(i), i))
			want[name(i)] = fmt.Sprint("[a]", i)
			if i%3 == 0 {
				require.NoError(t, ns.SetState(node(i/2), none, s.a, 0))
				delete(want, name(i/2))
			}
			ns.Persist(node(i))
			ns.clock.Run(300 * time.Millisecond)
			require.Equal(t, len(want), ns.Stats().Nodes)
		}
		ns.clock.Run(3 * time.Second)
		require.Equal(t, want, crash(t, store), "every %d", every)
	}
}

// Stop with a store that fails says so and comes to an end.
func TestStoreFailsAtStop(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	store.FailIf(func(string) bool { return true })
	within(t, "Stop", ns.Stop)
	logged := ns.log.take()
	require.Len(t, logged, 1)
	require.Contains(t, logged[0], "error Node states could not be saved")
	writes := store.Count("batch")
	ns.clock.Run(time.Hour)
	require.Equal(t, writes, store.Count("batch"))
}

// A write that takes for ever: operations, timeouts and readers go on.
func TestSlowStoreDelaysNoOperation(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	release := store.Block()
	defer release()
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		ns.clock.Run(defaultFlush)
	}()
	for store.Count("batch") == 0 {
		runtime.Gosched()
	}
	within(t, "an operation", func() {
		for i := range uint64(100) {
			require.NoError(t, ns.SetState(node(i), s.a, none, 0))
			require.NoError(t, ns.SetState(node(i), none, s.a, 0))
		}
		require.True(t, ns.GetState(node(1)).IsEmpty())
	})
	release()
	<-flushed
	ns.clock.Run(defaultFlush)
	require.Empty(t, crash(t, store))
}

// Large amounts are split into batches, of the size that the store likes.
func TestBatchesAreBounded(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	for i := range uint64(100) {
		require.NoError(t, ns.SetState(node(i), s.a, none, 0))
		require.NoError(t, s.text.Set(ns.NodeStateMachine, node(i), strings.Repeat("x", 10_000)))
	}
	ns.clock.Run(defaultFlush)
	require.InDelta(t, 10, store.Count("batch"), 2)
	require.Len(t, crash(t, store), 100)
}

// Many call Persist, and the store fails, when Stop comes: none of those that
// still wait for the store touches it once Stop has returned.
func TestNothingTouchesTheStoreAfterStop(t *testing.T) {
	for range 100 {
		store := testutil.NewFaultyStore()
		s, ns := storing(t, store, 0)
		require.NoError(t, ns.SetState(node(1), s.a, none, 0))
		store.FailIf(func(string) bool { return true })
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				for !errors.Is(ns.Persist(node(1)), ErrClosed) {
				}
			})
		}
		for store.Count("batch") < 100 {
			runtime.Gosched()
		}
		ns.Stop()
		atStop := store.Count("batch")
		within(t, "Persist", callers.Wait)
		require.Equal(t, atStop, store.Count("batch"))
	}
}
