package nodestate_test

import (
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// G1: a causes x and y directly; each of them causes one more. Both direct
// consequences come before both indirect ones, each in subscription order.
func TestBreadthFirst(t *testing.T) {
	setup := new(Setup)
	a, b, x, y := setup.NewFlag("a"), setup.NewFlag("b"), setup.NewFlag("x"), setup.NewFlag("y")
	ns := lay(t, setup, Config{})
	var tr trace
	tr.watch(ns, "first", x.Or(y))
	ns.SubscribeState(a, func(op Op, n *enode.Node, _, _ Flags) {
		tr.add("a causes x")
		op.SetState(n, x, none, 0)
	})
	ns.SubscribeState(a.Or(b), func(op Op, n *enode.Node, _, _ Flags) {
		tr.add("a causes y")
		op.SetState(n, y, none, 0)
	})
	tr.watch(ns, "last", MergeFlags(a, x, y))
	require.NoError(t, ns.Start())

	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.Equal(t, []string{
		"a causes x",
		"a causes y",
		"last: []→[a]",
		"first: []→[x]",
		"last: [a]→[a, x]",
		"first: [x]→[x, y]",
		"last: [a, x]→[a, x, y]",
	}, tr.take())
}

// G2, its example: who listens to f1, f2, f3 sees them come one by one, though
// f3 was set before it was called for the first time.
func TestEverySubscriberSeesStatesInOrder(t *testing.T) {
	setup := new(Setup)
	f0, f1, f2, f3 := setup.NewFlag("f0"), setup.NewFlag("f1"), setup.NewFlag("f2"), setup.NewFlag("f3")
	ns := lay(t, setup, Config{})
	var tr trace
	ns.SubscribeState(f0, func(op Op, n *enode.Node, _, _ Flags) {
		op.SetState(n, f1, none, 0)
		op.SetState(n, f2, none, 0)
	})
	ns.SubscribeState(f1, func(op Op, n *enode.Node, _, _ Flags) { op.SetState(n, f3, none, 0) })
	tr.watch(ns, "all", MergeFlags(f1, f2, f3))
	require.NoError(t, ns.Start())

	require.NoError(t, ns.SetState(node(1), f0, none, 0))
	require.Equal(t, []string{
		"all: []→[f1]",
		"all: [f1]→[f1, f2]",
		"all: [f1, f2]→[f1, f2, f3]",
	}, tr.take())
}

// G3: whoever calls finds everything done, also what was done to other nodes.
func TestCallReturnsWhenConsequencesAreOver(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	count := NewField[int](setup, "count")
	ns := lay(t, setup, Config{})
	const last = 1000
	count.Subscribe(ns.NodeStateMachine, func(op Op, _ *enode.Node, _ Flags, _, v Value[int]) {
		if v.Ok && v.V < last {
			next := node(uint64(v.V + 1))
			op.SetState(next, a, none, 0)
			count.SetIn(op, next, v.V+1)
		}
	})
	require.NoError(t, ns.Start())
	require.NoError(t, count.Set(ns.NodeStateMachine, node(0), 0))
	v, ok := count.Get(ns.NodeStateMachine, node(last))
	require.True(t, ok)
	require.Equal(t, last, v)
	require.Equal(t, last, ns.Stats().Nodes, "node 0 never had a flag")
}

// Changes take effect at once, for getters too; only the calls wait.
func TestChangesShowAtOnce(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	f := NewField[string](setup, "f")
	ns := lay(t, setup, Config{})
	var tr trace
	tr.watch(ns, "b", b)
	ns.SubscribeState(a, func(op Op, n *enode.Node, _, _ Flags) {
		op.SetState(n, b, a, 0)
		f.SetIn(op, n, "new")
		v, _ := f.Get(op.Machine(), n)
		tr.add("sees %v %v", op.Machine().GetState(n), v)
	})
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.Equal(t, []string{"sees [b] new", "b: []→[b]", "sees [b] new"}, tr.take())
}

// new = (old &^ reset) | set: a flag in both sets stays or comes.
func TestSetWinsOverReset(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	ns := begin(t, setup, Config{})
	require.NoError(t, ns.SetState(node(1), a, a.Or(b), 0))
	require.Equal(t, "[a]", ns.GetState(node(1)).String())
	require.NoError(t, ns.SetState(node(1), b, a, 0))
	require.Equal(t, "[b]", ns.GetState(node(1)).String())
}

func TestNothingChangesNobodyIsCalled(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	ns := lay(t, setup, Config{})
	var tr trace
	tr.watch(ns, "a", a)
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.Equal(t, []string{"a: []→[a]"}, tr.take())

	require.NoError(t, ns.SetState(node(1), a, b, 0))
	require.NoError(t, ns.SetState(node(1), none, b, 0))
	require.NoError(t, ns.SetState(node(1), b, none, 0), "not what a's subscriber asked for")
	require.Empty(t, tr.take())
}

func TestUnknownNodeIsMadeOnlyByFlags(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := lay(t, setup, Config{})
	var tr trace
	tr.watch(ns, "a", a)
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), none, a, 0))
	require.NoError(t, ns.SetState(node(1), none, none, 1))
	require.NoError(t, ns.AddTimeout(node(1), a, 1))
	require.Nil(t, ns.GetNode(node(1).ID()))
	require.Empty(t, tr.take())
	require.Zero(t, ns.clock.Timers())
}

// An operation of several changes: none of its callbacks runs before the
// function has returned, and together they are one operation.
func TestOperationMakesSeveralChanges(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	ns := lay(t, setup, Config{})
	var tr trace
	tr.watch(ns, "ab", a.Or(b))
	require.NoError(t, ns.Start())
	require.NoError(t, ns.Operation(func(op Op) {
		op.SetState(node(1), a, none, 0)
		op.SetState(node(2), b, none, 0)
		op.SetState(node(1), b, a, 0)
		op.SetState(node(3), a, none, 0)
		op.SetState(node(3), none, a, 0)
		tr.add("changes made")
	}))
	require.Equal(t, []string{
		"changes made", "ab: []→[a]", "ab: []→[b]", "ab: [a]→[b]", "ab: []→[a]", "ab: [a]→[]",
	}, tr.take())
	require.Nil(t, ns.GetNode(node(3).ID()))
	require.NoError(t, ns.Operation(func(Op) {}), "one without changes")
}

// The offline flag is the machine's own.
func TestOfflineFlagCannotBeSet(t *testing.T) {
	setup := new(Setup)
	a, offline := setup.NewFlag("a"), setup.OfflineFlag()
	ns := begin(t, setup, Config{})
	require.NoError(t, ns.SetState(node(1), offline, none, 0))
	require.Nil(t, ns.GetNode(node(1).ID()))
	require.NoError(t, ns.SetState(node(1), a.Or(offline), offline, 0))
	require.Equal(t, "[a]", ns.GetState(node(1)).String())
}

// Start: offline to the state, absent to the values, nodes by id. Stop: the
// reverse.
func TestStartAndStopAreOperations(t *testing.T) {
	store := testutil.NewFaultyStore()
	low, high := node(2), node(1)
	var tr trace
	open := func() (ns *table, a, b Flags, f Field[uint64]) {
		setup := new(Setup)
		a, b = setup.NewPersistentFlag("a"), setup.NewPersistentFlag("b")
		f = NewPersistentField(setup, "f", RLPCodec[uint64]())
		ns = lay(t, setup, Config{Store: store})
		tr.watch(ns, "a", a)
		watchField(&tr, ns, "f", f)
		tr.watch(ns, "all", MergeFlags(a, b, setup.OfflineFlag()))
		tr.watch(ns, "b", b)
		require.NoError(t, ns.Start())
		return ns, a, b, f
	}
	ns, a, b, f := open()
	require.Empty(t, tr.take(), "there was nothing to load")
	require.NoError(t, ns.SetState(high, b, none, 0))
	require.NoError(t, ns.SetState(low, a, none, 0))
	require.NoError(t, f.Set(ns.NodeStateMachine, low, 5))
	ns.Stop()
	tr.take()

	ns, _, _, _ = open()
	require.Equal(t, []string{
		"a: []→[a]", "all: [offline]→[a]", "f: -→5", "all: [offline]→[b]", "b: []→[b]",
	}, tr.take())
	ns.Stop()
	require.Equal(t, []string{
		"a: [a]→[]", "all: [a]→[offline]", "f: 5→-", "all: [b]→[offline]", "b: [b]→[]",
	}, tr.take())
}
