package nodestate_test

import (
	"errors"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

func TestAbsentIsNotZero(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[int](setup, "f")
	tb := lay(t, setup, Config{})
	ns := tb.NodeStateMachine
	var tr trace
	watchField(&tr, tb, "f", f)
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))

	_, ok := f.Get(ns, node(1))
	require.False(t, ok)
	require.NoError(t, f.Clear(ns, node(1)), "nothing to clear, nothing to tell")
	require.NoError(t, f.Set(ns, node(1), 0))
	v, ok := f.Get(ns, node(1))
	require.True(t, ok)
	require.Zero(t, v)
	require.NoError(t, f.Set(ns, node(1), 7))
	require.NoError(t, f.Set(ns, node(1), 7), "the same again is a change too")
	require.NoError(t, f.Clear(ns, node(1)))
	_, ok = f.Get(ns, node(1))
	require.False(t, ok)
	require.Equal(t, []string{"f: -→0", "f: 0→7", "f: 7→7", "f: 7→-"}, tr.take())
}

func TestFieldValuesAreNeverCompared(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	slices, maps := NewField[[]int](setup, "slice"), NewField[map[string]int](setup, "map")
	anything := NewField[any](setup, "any")
	tb := lay(t, setup, Config{})
	ns := tb.NodeStateMachine
	var tr trace
	watchField(&tr, tb, "slice", slices)
	watchField(&tr, tb, "map", maps)
	watchField(&tr, tb, "any", anything)
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	for range 2 {
		require.NoError(t, slices.Set(ns, node(1), []int{1}))
		require.NoError(t, maps.Set(ns, node(1), map[string]int{"k": 2}))
		require.NoError(t, anything.Set(ns, node(1), []byte{3}))
	}
	require.NoError(t, slices.Set(ns, node(1), nil), "a nil slice is a value")
	require.Equal(t, []string{
		"slice: -→[1]", "map: -→map[k:2]", "any: -→[3]",
		"slice: [1]→[1]", "map: map[k:2]→map[k:2]", "any: [3]→[3]",
		"slice: [1]→[]",
	}, tr.take())
}

// The field's callback gets the whole state at the time of the change, and all
// subscribers of a field are called in order.
func TestFieldCallback(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	f, g := NewField[int](setup, "f"), NewField[string](setup, "g")
	tb := lay(t, setup, Config{})
	ns := tb.NodeStateMachine
	var tr trace
	f.Subscribe(ns, func(op Op, n *enode.Node, state Flags, _, to Value[int]) {
		tr.add("first %v %v", state, to.V)
		if to.V == 1 {
			g.SetIn(op, n, "from f")
			op.SetState(n, b, none, 0)
			g.ClearIn(op, n)
		}
	})
	f.Subscribe(ns, func(_ Op, _ *enode.Node, state Flags, _, to Value[int]) {
		tr.add("second %v %v", state, to.V)
	})
	g.Subscribe(ns, func(_ Op, _ *enode.Node, state Flags, from, to Value[string]) {
		tr.add("g %v %s→%s", state, show(from), show(to))
	})
	require.NoError(t, ns.Start())
	require.NoError(t, ns.Operation(func(op Op) {
		op.SetState(node(1), a, none, 0)
		f.SetIn(op, node(1), 1)
		f.SetIn(op, node(1), 2)
	}))
	require.Equal(t, []string{
		"first [a] 1", "second [a] 1", "first [a] 2", "second [a] 2",
		"g [a] -→from f", "g [a, b] from f→-",
	}, tr.take())
}

// Values live in slots that nodes inherit from forgotten ones: none may show
// through.
func TestForgottenValuesDoNotComeBack(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[string](setup, "f")
	ns := begin(t, setup, Config{}).NodeStateMachine
	for i := range uint64(500) {
		require.NoError(t, ns.SetState(node(i), a, none, 0))
		require.NoError(t, f.Set(ns, node(i), "old"))
	}
	for i := range uint64(500) {
		require.NoError(t, ns.SetState(node(i), none, a, 0))
	}
	for i := range uint64(1000) {
		require.NoError(t, ns.SetState(node(i), a, none, 0))
		_, ok := f.Get(ns, node(i))
		require.False(t, ok)
	}
}

// A codec that fails costs the value, not the node, and is heard of.
func TestValueThatDoesNotEncodeIsStoredAsAbsent(t *testing.T) {
	store := testutil.NewFaultyStore()
	setup := new(Setup)
	a := setup.NewPersistentFlag("a")
	bad := NewPersistentField(setup, "bad", Codec[int]{
		Encode: func(int) ([]byte, error) { return nil, errors.New("no way") },
		Decode: func([]byte) (int, error) { return 0, nil },
	})
	good := NewPersistentField(setup, "good", RLPCodec[string]())
	tb := begin(t, setup, Config{Store: store})
	ns := tb.NodeStateMachine
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.NoError(t, bad.Set(ns, node(1), 1))
	require.NoError(t, good.Set(ns, node(1), "kept"))
	ns.Stop()
	require.Equal(t, []string{"error Field could not be encoded field=bad err=no way"}, tb.log.take())

	again := begin(t, setup, Config{Store: store}).NodeStateMachine
	_, ok := bad.Get(again, node(1))
	require.False(t, ok)
	v, _ := good.Get(again, node(1))
	require.Equal(t, "kept", v)
}

// Every Set of a node without flag is told, and undone, in one operation.
func TestFieldsDoNotKeepANode(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f, silent := NewField[int](setup, "f"), NewField[int](setup, "silent")
	tb := lay(t, setup, Config{})
	ns := tb.NodeStateMachine
	var tr trace
	watchField(&tr, tb, "f", f)
	require.NoError(t, ns.Start())
	for i := range uint64(100) {
		require.NoError(t, f.Set(ns, node(i), 1))
		require.NoError(t, silent.Set(ns, node(i), 1))
		require.Equal(t, []string{"f: -→1", "f: 1→-"}, tr.take())
	}
	require.Zero(t, ns.Stats().Nodes)

	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.NoError(t, f.Set(ns, node(1), 2))
	require.NoError(t, ns.SetState(node(1), none, a, 0))
	require.Equal(t, []string{"f: -→2", "f: 2→-"}, tr.take())
	require.Zero(t, ns.Stats().Nodes)
}
