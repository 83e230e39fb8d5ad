package nodestate_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	. "github.com/lespool/lespool/nodestate"
)

func TestStaleOpPanics(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[int](setup, "f")
	ns := lay(t, setup, Config{})
	var kept []Op
	ns.SubscribeState(a, func(op Op, _ *enode.Node, _, _ Flags) { kept = append(kept, op) })
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.NoError(t, ns.Operation(func(op Op) { kept = append(kept, op) }))
	uses := func(op Op) []func() {
		return []func(){
			func() { op.SetState(node(1), a, none, 0) },
			func() { op.SetState(nil, none, none, 0) },
			func() { op.AddTimeout(node(1), a, 0) },
			func() { f.SetIn(op, node(1), 1) },
			func() { f.ClearIn(op, node(1)) },
			func() { op.Machine() },
		}
	}
	check := func(when string) {
		for _, op := range kept {
			for i, use := range uses(op) {
				require.Contains(t, panicOf(use), "Op used after its operation ended", "%s, use %d", when, i)
			}
		}
	}
	check("between operations")
	require.NoError(t, ns.Operation(func(Op) { check("in another operation") }))
	ns.Stop()
	check("after Stop")
	for _, use := range uses(Op{}) {
		require.Contains(t, panicOf(use), "zero Op")
	}
}

func TestNilNodes(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[int](setup, "f")
	tb := begin(t, setup, Config{})
	ns := tb.NodeStateMachine
	require.ErrorIs(t, ns.SetState(nil, a, none, 0), ErrNoNode)
	require.ErrorIs(t, ns.AddTimeout(nil, a, 0), ErrNoNode)
	require.ErrorIs(t, f.Set(ns, nil, 1), ErrNoNode)
	require.ErrorIs(t, f.Clear(ns, nil), ErrNoNode)
	require.ErrorIs(t, ns.Persist(nil), ErrNoNode)
	require.True(t, ns.GetState(nil).IsEmpty())
	_, ok := f.Get(ns, nil)
	require.False(t, ok)
	require.NoError(t, ns.Operation(func(op Op) {
		op.SetState(nil, a, none, 0)
		op.AddTimeout(nil, a, 0)
		f.SetIn(op, nil, 1)
		f.ClearIn(op, nil)
	}))
	require.Zero(t, ns.Stats().Nodes)
}

func TestNothingBeforeStart(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[int](setup, "f")
	ns := lay(t, setup, Config{}).NodeStateMachine
	require.ErrorIs(t, ns.SetState(node(1), a, none, 0), ErrNotStarted)
	require.ErrorIs(t, ns.AddTimeout(node(1), a, 0), ErrNotStarted)
	require.ErrorIs(t, ns.Operation(nil), ErrNotStarted)
	require.ErrorIs(t, f.Set(ns, node(1), 1), ErrNotStarted)
	require.ErrorIs(t, ns.Persist(node(1)), ErrNotStarted)
	require.True(t, ns.GetState(node(1)).IsEmpty())
	require.Nil(t, ns.GetNode(node(1).ID()))
}

func TestSubscriptionsPrecedeStart(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[int](setup, "f")
	ns := begin(t, setup, Config{}).NodeStateMachine
	require.Contains(t, panicOf(func() { ns.SubscribeState(a, nil) }), "after Start")
	require.Contains(t, panicOf(func() { f.Subscribe(ns, nil) }), "after Start")
	require.Contains(t, panicOf(func() { ns.AddLogMetrics(a, none, "", nil, nil, nil) }), "after Start")
}

// ForEach and All: by id, those that match, from a snapshot; the body may
// change anything.
func TestForEachIsASnapshotInOrder(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	ns := begin(t, setup, Config{})
	for i := range uint64(100) {
		require.NoError(t, ns.SetState(node(i), a, none, 0))
		if i%4 == 0 {
			require.NoError(t, ns.SetState(node(i), b, none, 0))
		}
	}
	var ids []enode.ID
	ns.ForEach(a, b, func(n *enode.Node, st Flags) {
		require.True(t, st.Equals(a))
		ids = append(ids, n.ID())
		require.NoError(t, ns.SetState(n, b, a, 0))
		require.NoError(t, ns.SetState(node(1000+uint64(len(ids))), a, none, 0))
	})
	require.Len(t, ids, 75)
	require.True(t, slices.IsSortedFunc(ids, func(x, y enode.ID) int { return bytes.Compare(x[:], y[:]) }))

	seen := 0
	for range ns.All(b, none) {
		if seen++; seen == 10 {
			break
		}
	}
	require.Equal(t, 10, seen)
	all := ns.All(a, none)
	require.NoError(t, ns.SetState(node(5000), a, none, 0))
	seen = 0
	for range all {
		seen++
	}
	require.Equal(t, 25+75+1, seen, "the snapshot is taken when the iteration begins")
}

// The zero Config makes a machine on the system's clock that stores nothing.
func TestZeroConfig(t *testing.T) {
	setup := new(Setup)
	a := setup.NewPersistentFlag("a")
	ns := New(setup, Config{})
	gone := make(chan struct{})
	ns.SubscribeState(a, func(_ Op, _ *enode.Node, _, to Flags) {
		if to.IsEmpty() {
			close(gone)
		}
	})
	require.NoError(t, ns.Start())
	defer ns.Stop()
	require.NoError(t, ns.SetState(node(1), a, none, time.Millisecond))
	require.NoError(t, ns.Persist(node(1)))
	within(t, "the system's clock", func() { <-gone })
}
