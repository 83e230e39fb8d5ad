package nodestate_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// A newer record alone is worth a flush.
func TestNewerRecordIsStored(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	ns.clock.Run(defaultFlush)
	require.NoError(t, ns.SetState(nodeSeq(1, 6), none, none, 0))
	ns.clock.Run(defaultFlush)
	_, again := storing(t, store, 0)
	require.EqualValues(t, 6, again.GetNode(node(1).ID()).Seq())
}

// A write fails after a newer value was handed over: the newer one is written
// in the end.
func TestFailedWriteDoesNotReplaceWhatIsNewer(t *testing.T) {
	store := testutil.NewFaultyStore()
	s, ns := storing(t, store, 0)
	require.NoError(t, ns.SetState(node(1), s.a, none, 0))
	require.NoError(t, s.num.Set(ns.NodeStateMachine, node(1), 1))
	var writes atomic.Int32
	store.FailIf(func(op string) bool { return op == "batch" && writes.Add(1) == 1 })
	release := store.Block()
	var wg sync.WaitGroup
	wg.Go(func() { ns.clock.Run(defaultFlush) })
	for writes.Load() == 0 {
		runtime.Gosched()
	}
	require.NoError(t, s.num.Set(ns.NodeStateMachine, node(1), 2))
	wg.Go(func() { ns.Persist(node(1)) })
	for ns.Stats().Unwritten < 2 { // dirty, and handed over
		runtime.Gosched()
	}
	release()
	within(t, "the store", wg.Wait)
	require.Equal(t, map[string]string{name(1): "[a]2"}, crash(t, store))
}

// Many call Persist for one node, and one of them takes its time, when Stop
// comes: none of those behind it takes the shutdown for the end of the node.
func TestPersistDuringShutdownKeepsTheNode(t *testing.T) {
	for range 20 {
		store := testutil.NewFaultyStore()
		setup := &Setup{Version: 7}
		a := setup.NewPersistentFlag("a")
		var slow atomic.Pointer[chan struct{}]
		var encoding atomic.Int32
		f := NewPersistentField(setup, "f", Codec[byte]{
			Encode: func(b byte) ([]byte, error) {
				if wait := slow.Load(); wait != nil {
					encoding.Add(1)
					<-*wait
				}
				return []byte{b}, nil
			},
			Decode: func(b []byte) (byte, error) { return b[0], nil },
		})
		ns := lay(t, setup, Config{Store: store, Prefix: []byte(prefix)})
		var persisted sync.WaitGroup
		ns.SubscribeState(setup.OfflineFlag(), func(Op, *enode.Node, Flags, Flags) { persisted.Wait() })
		require.NoError(t, ns.Start())
		require.NoError(t, ns.SetState(node(1), a, none, 0))
		require.NoError(t, f.Set(ns.NodeStateMachine, node(1), 1))
		ns.clock.Run(defaultFlush)

		wait := make(chan struct{})
		slow.Store(&wait)
		for range 50 {
			persisted.Go(func() { ns.Persist(node(1)) })
		}
		for encoding.Load() == 0 {
			runtime.Gosched()
		}
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			ns.Stop()
		}()
		for range 1000 {
			runtime.Gosched() // Stop, too, should wait for the slow one
		}
		close(wait)
		within(t, "Stop", func() { <-stopped })
		has, err := store.Has(keyOf(node(1)))
		require.NoError(t, err)
		require.True(t, has)
	}
}
