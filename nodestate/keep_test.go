package nodestate_test

import (
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

func nodeSeq(i, seq uint64) *enode.Node { return testutil.FakeNode(i, seq) }

// G9: a node goes when its last flag goes, and with it its fields; they are
// told, once.
func TestLastFlagTakesTheNodeAlong(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	f := NewField[int](setup, "f")
	ns := lay(t, setup, Config{})
	var tr trace
	tr.watch(ns, "ab", a.Or(b))
	f.Subscribe(ns.NodeStateMachine, func(op Op, n *enode.Node, _ Flags, from, to Value[int]) {
		tr.add("f: %s→%s, known %v", show(from), show(to), op.Machine().GetNode(n.ID()) != nil)
		if !to.Ok {
			f.SetIn(op, n, 9) // in vain: it is told but nothing is left
		}
	})
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a.Or(b), none, 0))
	require.NoError(t, f.Set(ns.NodeStateMachine, node(1), 1))
	require.NoError(t, ns.SetState(node(1), none, a, 0))
	require.NotNil(t, ns.GetNode(node(1).ID()))
	require.NoError(t, ns.SetState(node(1), none, b, 0))
	require.Equal(t, []string{
		"ab: []→[a, b]", "f: -→1, known true", "ab: [a, b]→[b]", "ab: [b]→[]",
		"f: 1→-, known true", "f: -→9, known true",
	}, tr.take())
	require.Nil(t, ns.GetNode(node(1).ID()))
	_, ok := f.Get(ns.NodeStateMachine, node(1))
	require.False(t, ok)
}

// A subscriber to the field that goes can keep the node.
func TestFieldSubscriberKeepsTheNode(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	f := NewField[int](setup, "f")
	ns := lay(t, setup, Config{})
	var tr trace
	f.Subscribe(ns.NodeStateMachine, func(op Op, n *enode.Node, _ Flags, from, to Value[int]) {
		tr.add("f: %s→%s", show(from), show(to))
		if !to.Ok {
			op.SetState(n, b, none, 0)
		}
	})
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.NoError(t, f.Set(ns.NodeStateMachine, node(1), 1))
	require.NoError(t, ns.SetState(node(1), none, a, 0))
	require.Equal(t, "[b]", ns.GetState(node(1)).String())

	require.NoError(t, f.Set(ns.NodeStateMachine, node(1), 2))
	require.NoError(t, ns.SetState(node(1), none, b, 0), "and again")
	require.Equal(t, []string{"f: -→1", "f: 1→-", "f: -→2", "f: 2→-"}, tr.take())
	require.Equal(t, "[b]", ns.GetState(node(1)).String())
}

// Without a flag for a moment, inside an operation, is not without a flag.
func TestFlagsMayComeAndGoInsideAnOperation(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	f := NewField[int](setup, "f")
	ns := lay(t, setup, Config{})
	var tr trace
	watchField(&tr, ns, "f", f)
	ns.SubscribeState(a, func(op Op, n *enode.Node, _, to Flags) {
		if to.IsEmpty() {
			op.SetState(n, b, none, 0)
		}
	})
	require.NoError(t, ns.Start())
	require.NoError(t, ns.Operation(func(op Op) {
		f.SetIn(op, node(1), 1) // before the flag
		op.SetState(node(1), a, none, 0)
	}))
	require.NoError(t, ns.SetState(node(1), none, a, 0))
	v, _ := f.Get(ns.NodeStateMachine, node(1))
	require.Equal(t, 1, v)
	require.Equal(t, []string{"f: -→1"}, tr.take())
}

// One node's last callbacks give a field to another that is going as well: that
// one is told too, in whichever order they go.
func TestNodesThatGoTogetherDoNotMixUp(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f, g := NewField[int](setup, "f"), NewField[int](setup, "g")
	ns := lay(t, setup, Config{})
	var tr trace
	watchField(&tr, ns, "g", g)
	f.Subscribe(ns.NodeStateMachine, func(op Op, _ *enode.Node, _ Flags, _, to Value[int]) {
		if !to.Ok {
			g.SetIn(op, node(2), 1)
		}
	})
	require.NoError(t, ns.Start())
	for _, order := range [][2]uint64{{1, 2}, {2, 1}} {
		require.NoError(t, ns.SetState(node(1), a, none, 0))
		require.NoError(t, ns.SetState(node(2), a, none, 0))
		require.NoError(t, f.Set(ns.NodeStateMachine, node(1), 1))
		require.NoError(t, ns.Operation(func(op Op) {
			for _, i := range order {
				op.SetState(node(i), none, a, 0)
			}
		}))
		require.Equal(t, []string{"g: -→1", "g: 1→-"}, tr.take(), order)
		require.Zero(t, ns.Stats().Nodes)
	}
}

// A loaded node that has only what this setup does not store goes as well, but
// not before the Start operation has run its callbacks.
func TestLoadedNodeHasAChanceToStay(t *testing.T) {
	store := testutil.NewFaultyStore()
	save := new(Setup)
	stored := save.NewPersistentFlag("was stored")
	first := begin(t, save, Config{Store: store})
	require.NoError(t, first.SetState(node(1), stored, none, 0))
	require.NoError(t, first.SetState(node(2), stored, none, 0))
	first.Stop()

	setup := new(Setup)
	setup.NewFlag("is stored no more")
	kept := setup.NewPersistentFlag("kept")
	ns := lay(t, setup, Config{Store: store})
	ns.SubscribeState(setup.OfflineFlag(), func(op Op, n *enode.Node, from, _ Flags) {
		if !from.IsEmpty() && n.ID() == node(1).ID() {
			op.SetState(n, kept, none, 0)
		}
	})
	require.NoError(t, ns.Start())
	require.Equal(t, "[kept]", ns.GetState(node(1)).String())
	require.Nil(t, ns.GetNode(node(2).ID()))
	ns.Stop()
	require.Equal(t, 1, store.Len(), "the other one is gone from the store too")
}

// G10: every call that changes something, or could, brings the newer record.
func TestNewestRecordIsKept(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[int](setup, "f")
	tb := begin(t, setup, Config{})
	ns := tb.NodeStateMachine
	calls := []func(n *enode.Node){
		func(n *enode.Node) { require.NoError(t, ns.SetState(n, a, none, 0)) },
		func(n *enode.Node) { require.NoError(t, ns.SetState(n, none, none, 0)) },
		func(n *enode.Node) { require.NoError(t, ns.AddTimeout(n, none, 0)) },
		func(n *enode.Node) { require.NoError(t, f.Set(ns, n, 1)) },
		func(n *enode.Node) { require.NoError(t, f.Clear(ns, n)) },
		func(n *enode.Node) { require.NoError(t, f.Clear(ns, n)) }, // nothing to clear
		func(n *enode.Node) { require.NoError(t, ns.Persist(n)) },
		func(n *enode.Node) {
			require.NoError(t, ns.Operation(func(op Op) { op.SetState(n, none, none, 0) }))
		},
	}
	for i, call := range calls {
		seq := uint64(10 * (i + 1))
		call(nodeSeq(1, seq))
		require.Equal(t, seq, ns.GetNode(node(1).ID()).Seq(), i)
		call(nodeSeq(1, seq-1))
		require.Equal(t, seq, ns.GetNode(node(1).ID()).Seq(), "an older one is not")
	}
}

func TestCallbacksGetTheNewestRecord(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := lay(t, setup, Config{})
	var tr trace
	ns.SubscribeState(a, func(op Op, n *enode.Node, _, to Flags) {
		if to.IsEmpty() {
			return // Stop
		}
		tr.add("%d", n.Seq())
		op.SetState(nodeSeq(1, 3), none, none, 0)
		require.NoError(t, op.Machine().Persist(nodeSeq(1, 4)), "inside an operation")
	})
	ns.SubscribeState(a, func(_ Op, n *enode.Node, _, _ Flags) { tr.add("%d", n.Seq()) })
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(nodeSeq(1, 2), a, none, 0))
	require.Equal(t, []string{"2", "4"}, tr.take())
}

// Getters bring nothing, whatever record they are asked with.
func TestGettersChangeNothing(t *testing.T) {
	store := testutil.NewFaultyStore()
	setup := new(Setup)
	a := setup.NewPersistentFlag("a")
	f := NewPersistentField(setup, "f", RLPCodec[uint64]())
	tb := begin(t, setup, Config{Store: store})
	ns := tb.NodeStateMachine
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.NoError(t, ns.Persist(node(1)))
	tb.clock.Run(defaultFlush)
	writes := store.Count("batch")

	newer := nodeSeq(1, 5)
	require.Equal(t, "[a]", ns.GetState(newer).String())
	f.Get(ns, newer)
	ns.ForEach(none, none, func(*enode.Node, Flags) {})
	require.EqualValues(t, 1, ns.GetNode(newer.ID()).Seq())
	require.Zero(t, ns.Stats().Unwritten)
	tb.clock.Run(defaultFlush)
	require.Equal(t, writes, store.Count("batch"))
}
