package nodestate_test

import (
	"math"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	. "github.com/lespool/lespool/nodestate"
)

// timed is a machine with three flags, whose changes it notes with the second
// at which they happen.
type timed struct {
	*table
	a, b, c Flags
	trace
}

func newTimed(t *testing.T) *timed {
	setup := new(Setup)
	tm := &timed{a: setup.NewFlag("a"), b: setup.NewFlag("b"), c: setup.NewFlag("c")}
	tm.table = lay(t, setup, Config{})
	tm.SubscribeState(MergeFlags(tm.a, tm.b, tm.c), func(_ Op, _ *enode.Node, from, to Flags) {
		tm.add("%gs %v→%v", time.Duration(tm.clock.Now()).Seconds(), from, to)
	})
	require.NoError(t, tm.Start())
	return tm
}

func (tm *timed) set(t *testing.T, set, reset Flags, timeout time.Duration) {
	t.Helper()
	require.NoError(t, tm.SetState(node(1), set, reset, timeout))
}

func TestTimeoutResetsItsFlags(t *testing.T) {
	tm := newTimed(t)
	tm.set(t, tm.a, none, 0)
	tm.set(t, tm.b.Or(tm.c), none, 5*time.Second)
	tm.clock.Run(5*time.Second - 1)
	require.Equal(t, "[a, b, c]", tm.GetState(node(1)).String())
	tm.clock.Run(1)
	require.Equal(t, []string{"0s []→[a]", "0s [a]→[a, b, c]", "5s [a, b, c]→[a]"}, tm.take())
	require.Zero(t, tm.clock.Timers())
}

func TestTimeoutForgetsANode(t *testing.T) {
	tm := newTimed(t)
	tm.set(t, tm.a, none, time.Second)
	tm.clock.Run(time.Second)
	require.Nil(t, tm.GetNode(node(1).ID()))
}

// A timeout that ended early with its flag, and with the node, does not come
// back to the node that bears the same id afterwards.
func TestTimeoutDiesWithItsFlag(t *testing.T) {
	tm := newTimed(t)
	tm.set(t, tm.a.Or(tm.b), none, 5*time.Second)
	tm.set(t, none, tm.a.Or(tm.b), 0)
	require.Nil(t, tm.GetNode(node(1).ID()))
	tm.set(t, tm.a, none, 0)
	tm.take()
	tm.clock.Run(time.Minute)
	require.Empty(t, tm.take())
	require.Equal(t, "[a]", tm.GetState(node(1)).String())
}

// Setting or resetting a flag again ends its timeout, that of the others goes
// on.
func TestTimeoutGoesOnForTheOtherFlags(t *testing.T) {
	tm := newTimed(t)
	all := MergeFlags(tm.a, tm.b, tm.c)
	tm.set(t, all, none, 5*time.Second)
	tm.set(t, tm.a, none, 0)
	tm.set(t, none, tm.b, 0)
	tm.set(t, tm.b, none, 0)
	tm.clock.Run(time.Minute)
	require.Equal(t, []string{
		"0s []→[a, b, c]", "0s [a, b, c]→[a, c]", "0s [a, c]→[a, b, c]", "5s [a, b, c]→[a, b]",
	}, tm.take())
}

// Setting again what is set calls nobody, but the new timeout counts.
func TestTimeoutIsReplacedThoughNothingChanges(t *testing.T) {
	tm := newTimed(t)
	tm.set(t, tm.a, none, 5*time.Second)
	tm.clock.Run(4 * time.Second)
	tm.set(t, tm.a, none, 5*time.Second)
	tm.clock.Run(4 * time.Second)
	tm.set(t, none, tm.b, 5*time.Second)
	tm.clock.Run(time.Minute)
	require.Equal(t, []string{"0s []→[a]", "9s [a]→[]"}, tm.take())
}

func TestTimeoutOfTellsTheFirst(t *testing.T) {
	tm := newTimed(t)
	all := MergeFlags(tm.a, tm.b, tm.c)
	timeoutOf := func(flags Flags) any {
		if at, ok := tm.TimeoutOf(node(1), flags); ok {
			return time.Duration(at)
		}
		return "none"
	}
	require.Equal(t, "none", timeoutOf(all), "unknown")
	tm.set(t, tm.a, none, 0)
	require.Equal(t, "none", timeoutOf(all))
	tm.set(t, tm.b, none, 5*time.Second)
	tm.clock.Run(time.Second)
	tm.set(t, tm.c, none, 3*time.Second)
	require.Equal(t, 4*time.Second, timeoutOf(all))
	require.Equal(t, 5*time.Second, timeoutOf(tm.a.Or(tm.b)))
	require.Equal(t, "none", timeoutOf(tm.a))
	require.Equal(t, "none", timeoutOf(none))
	tm.clock.Run(3 * time.Second)
	require.Equal(t, 5*time.Second, timeoutOf(all))
	_, ok := tm.TimeoutOf(nil, all)
	require.False(t, ok)
	tm.Stop()
	require.Equal(t, "none", timeoutOf(all))
}

func TestAddTimeoutTakesFlagsThatAreThere(t *testing.T) {
	tm := newTimed(t)
	tm.set(t, tm.a.Or(tm.b), none, 0)
	require.NoError(t, tm.AddTimeout(node(1), tm.a.Or(tm.c), 2*time.Second))
	tm.set(t, tm.c, none, 0)
	tm.clock.Run(time.Second)
	require.NoError(t, tm.AddTimeout(node(1), tm.a, 3*time.Second), "later than before")
	tm.clock.Run(time.Minute)
	require.NoError(t, tm.AddTimeout(node(1), tm.b, -time.Second), "at once, but of its own")
	require.Equal(t, "[b, c]", tm.GetState(node(1)).String())
	tm.clock.Run(0)
	require.Equal(t, []string{
		"0s []→[a, b]", "0s [a, b]→[a, b, c]", "4s [a, b, c]→[b, c]", "61s [b, c]→[c]",
	}, tm.take())
}

// Each timeout is an operation of its own, in the order of time, then of
// setting.
func TestTimeoutsComeInOrder(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	ns := lay(t, setup, Config{})
	var tr trace
	ns.SubscribeState(a, func(op Op, n *enode.Node, _, to Flags) {
		if to.IsEmpty() {
			tr.add("%v over", n.Seq())
			op.SetState(n, b, none, 0)
		}
	})
	ns.SubscribeState(b, func(_ Op, n *enode.Node, _, _ Flags) { tr.add("%v consequence", n.Seq()) })
	require.NoError(t, ns.Start())
	numbered := func(i uint64) *enode.Node { return nodeSeq(i, i) }
	require.NoError(t, ns.SetState(numbered(3), a, none, 2*time.Second))
	require.NoError(t, ns.SetState(numbered(2), a, none, time.Second))
	require.NoError(t, ns.SetState(numbered(1), a, none, time.Second))
	require.Equal(t, 1, ns.clock.Timers(), "one clock timer serves all")
	ns.clock.Run(2 * time.Second)
	require.Equal(t, []string{
		"2 over", "2 consequence", "1 over", "1 consequence", "3 over", "3 consequence",
	}, tr.take())
}

// A callback of a timeout that sets the flag again, with a timeout, is called
// at every such interval.
func TestTimeoutSetInTimeout(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := lay(t, setup, Config{})
	calls := 0
	ns.SubscribeState(a, func(op Op, n *enode.Node, _, to Flags) {
		if to.IsEmpty() {
			calls++
			op.SetState(n, a, none, time.Second)
		}
	})
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, time.Second))
	ns.clock.Run(10 * time.Second)
	require.Equal(t, 10, calls)
	require.Equal(t, "[a]", ns.GetState(node(1)).String())
}

// The longest duration there is lies beyond the end of the clock.
func TestTimeoutWithoutEnd(t *testing.T) {
	tm := newTimed(t)
	tm.clock.Run(time.Hour)
	tm.set(t, tm.a, none, math.MaxInt64)
	tm.set(t, tm.b, none, time.Second)
	tm.clock.Run(1000 * time.Hour)
	require.Equal(t, "[a]", tm.GetState(node(1)).String())
}

// Timeouts that end early leave no trace in the clock but one alarm, however
// many there were.
func TestManyTimeoutsOneClockTimer(t *testing.T) {
	tm := newTimed(t)
	for i := range uint64(1000) {
		require.NoError(t, tm.SetState(node(i), tm.a, none, time.Duration(1000-i)*time.Second))
		require.NoError(t, tm.SetState(node(i), tm.b, none, time.Duration(i+1)*time.Second))
		require.Equal(t, 1, tm.clock.Timers())
	}
	for i := range uint64(1000) {
		require.NoError(t, tm.SetState(node(i), tm.c, tm.a.Or(tm.b), 0))
	}
	tm.take()
	tm.clock.Run(time.Hour)
	require.Empty(t, tm.take())
	require.Zero(t, tm.clock.Timers())
}
