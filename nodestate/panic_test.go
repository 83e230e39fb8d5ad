package nodestate_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	. "github.com/lespool/lespool/nodestate"
)

// fragile is a machine in which flag a causes b, the field and a failure of the
// kind that the test asks for; what comes later is noted nevertheless.
type fragile struct {
	*table
	trace
	a, b Flags
	f    Field[int]
	fail func()
}

func newFragile(t *testing.T) *fragile {
	setup := new(Setup)
	fr := &fragile{a: setup.NewFlag("a"), b: setup.NewFlag("b"), f: NewField[int](setup, "f")}
	fr.table = lay(t, setup, Config{})
	fr.SubscribeState(fr.a, func(op Op, n *enode.Node, _, to Flags) {
		if fr.fail == nil {
			return
		}
		op.SetState(n, fr.b, none, 0)
		fr.f.SetIn(op, n, 1)
		fr.fail()
	})
	fr.watch(fr.table, "a", fr.a)
	fr.watch(fr.table, "b", fr.b)
	watchField(&fr.trace, fr.table, "f", fr.f)
	require.NoError(t, fr.Start())
	t.Cleanup(func() { fr.fail = nil }) // runs before Stop
	return fr
}

// goexit runs f on a goroutine of its own, that f may end, and waits.
func goexit(f func()) (returned bool) {
	var wg sync.WaitGroup
	wg.Go(func() {
		f()
		returned = true
	})
	wg.Wait()
	return returned
}

var restOfTheQueue = []string{"a: []→[a]", "b: []→[b]", "f: -→1"}

func (fr *fragile) requireUsable(t *testing.T) {
	t.Helper()
	fr.fail = nil
	fr.take()
	within(t, "the next operation", func() { require.NoError(t, fr.SetState(node(1<<20), fr.a, none, 0)) })
	require.Equal(t, []string{"a: []→[a]"}, fr.take())
	within(t, "Stop", fr.Stop)
}

func TestPanicReachesWhoeverCalled(t *testing.T) {
	calls := map[string]func(fr *fragile) error{
		"SetState":  func(fr *fragile) error { return fr.SetState(node(1), fr.a, none, 0) },
		"Operation": func(fr *fragile) error { return fr.Operation(func(op Op) { op.SetState(node(1), fr.a, none, 0) }) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			fr := newFragile(t)
			fr.fail = func() { panic("boom") }
			require.Equal(t, "boom", panicOf(func() { call(fr) }))
			require.Equal(t, restOfTheQueue, fr.take())
			require.Empty(t, fr.log.take())
			fr.requireUsable(t)
		})
	}
}

func TestPanicInFieldCallback(t *testing.T) {
	setup := new(Setup)
	f := NewField[int](setup, "f")
	ns := lay(t, setup, Config{})
	var tr trace
	f.Subscribe(ns.NodeStateMachine, func(_ Op, _ *enode.Node, _ Flags, _, to Value[int]) {
		if to.Ok {
			panic("field boom")
		}
	})
	watchField(&tr, ns, "f", f)
	require.NoError(t, ns.Start())
	require.Equal(t, "field boom", panicOf(func() { f.Set(ns.NodeStateMachine, node(1), 1) }))
	require.Equal(t, []string{"f: -→1", "f: 1→-"}, tr.take(), "the next subscriber, then the end of the flagless node")
	require.Zero(t, ns.Stats().Nodes)
	within(t, "the next operation", func() { require.NoError(t, f.Clear(ns.NodeStateMachine, node(1))) })
}

// What the function of an Operation had done before it failed has its
// consequences.
func TestPanicInOperation(t *testing.T) {
	fr := newFragile(t)
	require.Equal(t, "mine", panicOf(func() {
		fr.Operation(func(op Op) {
			op.SetState(node(1), fr.b, none, 0)
			panic("mine")
		})
	}))
	require.Equal(t, []string{"b: []→[b]"}, fr.take())
	fr.requireUsable(t)
}

// A thousand callbacks panic: the first panic goes up, the others are logged.
func TestPanicsDoNotPileUp(t *testing.T) {
	fr := newFragile(t)
	const nodes = 1000
	count := 0
	fr.fail = func() {
		count++
		panic(count)
	}
	require.Equal(t, 1, panicOf(func() {
		fr.Operation(func(op Op) {
			for i := range uint64(nodes) {
				op.SetState(node(i), fr.a, none, 0)
			}
		})
	}))
	require.Equal(t, nodes, count)
	require.Len(t, fr.log.take(), nodes-1)
	fr.requireUsable(t)
}

func TestPanicAfterTimeoutIsLoggedAndRaisedAgain(t *testing.T) {
	fr := newFragile(t)
	require.NoError(t, fr.SetState(node(1), fr.a, none, time.Second))
	require.NoError(t, fr.SetState(node(2), fr.a, none, time.Second))
	fr.take()
	fr.fail = func() { panic("late boom") }
	require.Equal(t, "late boom", panicOf(func() { fr.clock.Run(time.Second) }))
	logged := fr.log.take()
	require.Len(t, logged, 1)
	require.Contains(t, logged[0], "late boom")
	require.Contains(t, logged[0], "newFragile.func", "the stack shows who panicked")
	require.Equal(t, []string{"a: [a]→[]", "b: []→[b]", "f: -→1"}, fr.take())

	fr.fail = nil
	fr.clock.Run(time.Second)
	require.Equal(t, []string{"a: [a]→[]"}, fr.take(), "the other timeout was not lost")
	fr.requireUsable(t)
}

func TestPanicInStartAndStop(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := lay(t, setup, Config{})
	ns.SubscribeState(setup.OfflineFlag(), func(Op, *enode.Node, Flags, Flags) { panic("going down") })
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, time.Hour))
	require.Equal(t, "going down", panicOf(ns.Stop))
	require.Zero(t, ns.clock.Timers())
	require.ErrorIs(t, ns.SetState(node(1), a, none, 0), ErrClosed)
	within(t, "stopping again", ns.Stop)
}

func TestGoexitCountsAsAPanic(t *testing.T) {
	fr := newFragile(t)
	fr.fail = runtime.Goexit
	require.False(t, goexit(func() { fr.SetState(node(1), fr.a, none, 0) }))
	require.Equal(t, restOfTheQueue, fr.take())
	fr.fail = nil
	require.False(t, goexit(func() { fr.Operation(func(Op) { runtime.Goexit() }) }))
	fr.requireUsable(t)
}

func TestGoexitAfterTimeout(t *testing.T) {
	fr := newFragile(t)
	require.NoError(t, fr.SetState(node(1), fr.a, none, time.Second))
	require.NoError(t, fr.SetState(node(2), fr.a, none, time.Second))
	fr.fail = runtime.Goexit
	require.False(t, goexit(func() { fr.clock.Run(time.Second) }))
	require.Len(t, fr.log.take(), 1)
	fr.fail = nil
	fr.clock.Run(time.Second)
	require.True(t, fr.GetState(node(2)).IsEmpty())
	fr.requireUsable(t)
}

// A mixture of both, several in one operation.
func TestGoexitAmongPanics(t *testing.T) {
	fr := newFragile(t)
	count := 0
	fr.fail = func() {
		if count++; count%2 == 0 {
			runtime.Goexit()
		}
		panic(count)
	}
	require.False(t, goexit(func() {
		defer func() { recover() }()
		fr.Operation(func(op Op) {
			for i := range uint64(10) {
				op.SetState(node(i), fr.a, none, 0)
			}
		})
	}))
	require.Equal(t, 10, count)
	fr.requireUsable(t)
}
