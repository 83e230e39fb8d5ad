package nodestate_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	. "github.com/lespool/lespool/nodestate"
)

func TestFlagsAreASet(t *testing.T) {
	setup := &Setup{Name: "algebra"}
	a, b, c := setup.NewFlag("a"), setup.NewPersistentFlag("b"), setup.NewFlag("c")
	ab, bc := a.Or(b), MergeFlags(c, b, none, b)

	require.True(t, ab.And(bc).Equals(b))
	require.True(t, ab.AndNot(bc).Equals(a))
	require.True(t, ab.Xor(bc).Equals(MergeFlags(a, c)))
	require.True(t, MergeFlags().IsEmpty())
	require.True(t, ab.HasAll(a))
	require.False(t, a.HasAll(ab))
	require.True(t, a.HasAll(none))
	require.True(t, a.HasNone(bc))
	require.True(t, a.HasNone(none))
	require.False(t, ab.HasNone(bc))
	require.False(t, a.Equals(b))
	require.True(t, ab.AndNot(ab).Equals(none))
}

func TestFlagsPrintInTheOrderOfDefinition(t *testing.T) {
	setup := new(Setup)
	x, a, m := setup.NewFlag("x"), setup.NewFlag("a"), setup.NewFlag("m")

	require.Equal(t, "[]", none.String())
	require.Equal(t, "[x, a, m]", MergeFlags(m, a, x).String())
	require.Equal(t, "[offline, m]", m.Or(setup.OfflineFlag()).String())
}

func TestZeroFlagsGoWithEverySetup(t *testing.T) {
	one, two := &Setup{Name: "one"}, &Setup{Name: "two"}
	a, b := one.NewFlag("a"), two.NewFlag("b")

	require.Equal(t, "[a]", none.Or(a).String())
	require.Equal(t, "[b]", b.Or(none).String())
	emptyOfOne := a.AndNot(a)
	require.Equal(t, "[b]", emptyOfOne.Or(b).String(), "an empty set is empty, whatever it was made from")
	require.Equal(t, "[b]", b.Or(emptyOfOne).String())
	require.Equal(t, "[b]", b.AndNot(emptyOfOne).String())
}

func TestMixingSetupsPanicsWithBothNames(t *testing.T) {
	one, two := &Setup{Name: "setup-one"}, &Setup{Name: "setup-two"}
	a, b := one.NewFlag("a"), two.NewFlag("b")
	ns := New(one, Config{})
	foreign := NewField[int](two, "field")
	var undefined Field[int]

	calls := map[string]func(){
		"And":       func() { a.And(b) },
		"AndNot":    func() { a.AndNot(b) },
		"Or":        func() { a.Or(b) },
		"Xor":       func() { a.Xor(b) },
		"HasAll":    func() { a.HasAll(b) },
		"HasNone":   func() { a.HasNone(b) },
		"Equals":    func() { a.Equals(b) },
		"Merge":     func() { MergeFlags(a, b) },
		"Subscribe": func() { ns.SubscribeState(b, nil) },
		"ForEach":   func() { ns.ForEach(none, b, nil) },
		"Field":     func() { foreign.Get(ns, node(1)) },
	}
	for name, call := range calls {
		msg := fmt.Sprint(panicOf(call))
		require.Contains(t, msg, "setup-one", name)
		require.Contains(t, msg, "setup-two", name)
	}
	require.Contains(t, panicOf(func() { undefined.Get(ns, node(1)) }), "undefined field")
}

// Flags of another setup are found out before anything has changed.
func TestForeignFlagsChangeNothing(t *testing.T) {
	setup, other := &Setup{Name: "setup-one"}, &Setup{Name: "setup-two"}
	a, foreign := setup.NewFlag("a"), other.NewFlag("x")
	ns := begin(t, setup, Config{})

	require.NotNil(t, panicOf(func() { ns.SetState(node(1), a, foreign, 0) }))
	require.NotNil(t, panicOf(func() { ns.AddTimeout(node(1), foreign, 0) }))
	require.Nil(t, ns.GetNode(node(1).ID()))
	within(t, "the next operation", func() { require.NoError(t, ns.SetState(node(1), a, none, 0)) })
}

func TestTooManyFlags(t *testing.T) {
	setup := &Setup{Name: "full"}
	var last Flags
	for i := range 63 {
		last = setup.NewFlag(fmt.Sprint("f", i))
	}
	require.Contains(t, panicOf(func() { setup.NewFlag("one more") }), "at most 63 flags")
	ns := begin(t, setup, Config{})
	require.NoError(t, ns.SetState(node(1), last, none, 0))
	require.Equal(t, "[f62]", ns.GetState(node(1)).String())
}

func TestSetupMistakesPanic(t *testing.T) {
	setup := &Setup{Name: "mistakes"}
	setup.NewFlag("twice")
	NewField[int](setup, "same")

	require.Contains(t, panicOf(func() { setup.NewPersistentFlag("twice") }), `"twice"`)
	require.Contains(t, panicOf(func() { setup.NewFlag("offline") }), `"offline"`)
	require.Contains(t, panicOf(func() { NewField[string](setup, "same") }), `"same"`)
	New(setup, Config{})
	require.Contains(t, panicOf(func() { setup.NewFlag("late") }), `"late"`)
	require.Contains(t, panicOf(func() { NewField[int](setup, "late") }), `"late"`)
}

func TestSetupServesSeveralMachines(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[int](setup, "f")
	var machines [4]*NodeStateMachine
	var wg sync.WaitGroup
	for i := range machines {
		wg.Go(func() { machines[i] = New(setup, Config{}) })
	}
	wg.Wait()
	for i, ns := range machines {
		require.NoError(t, ns.Start())
		defer ns.Stop()
		require.NoError(t, ns.SetState(node(1), a, none, 0))
		require.NoError(t, f.Set(ns, node(1), i))
	}
	for i, ns := range machines {
		v, _ := f.Get(ns, node(1))
		require.Equal(t, i, v)
	}
}

// Flags behave like sets of names.
func TestFlagsAlgebraAgainstMaps(t *testing.T) {
	setup := new(Setup)
	var flags [8]Flags
	for i := range flags {
		flags[i] = setup.NewFlag(fmt.Sprint(i))
	}
	rapid.Check(t, func(t *rapid.T) {
		x, y := rapid.Byte().Draw(t, "x"), rapid.Byte().Draw(t, "y")
		set := func(bits byte) (f Flags) {
			for i := range flags {
				if bits>>i&1 != 0 {
					f = f.Or(flags[i])
				}
			}
			return f
		}
		names := func(bits byte) string {
			var list []string
			for i := range flags {
				if bits>>i&1 != 0 {
					list = append(list, fmt.Sprint(i))
				}
			}
			return "[" + strings.Join(list, ", ") + "]"
		}
		fx, fy := set(x), set(y)
		require.Equal(t, names(x&y), fx.And(fy).String())
		require.Equal(t, names(x|y), fx.Or(fy).String())
		require.Equal(t, names(x^y), fx.Xor(fy).String())
		require.Equal(t, names(x&^y), fx.AndNot(fy).String())
		require.Equal(t, x&y == y, fx.HasAll(fy))
		require.Equal(t, x&y == 0, fx.HasNone(fy))
		require.Equal(t, x == y, fx.Equals(fy))
		require.Equal(t, x == 0, fx.IsEmpty())
	})
}
