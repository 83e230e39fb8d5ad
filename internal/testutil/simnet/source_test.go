package simnet

import (
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// A stream brings so many nodes a second, all of them once before any again, and
// each time in another order.
func TestStream(t *testing.T) {
	clock := new(testutil.Clock)
	n, err := New(Default(1), clock)
	require.NoError(t, err)
	s := n.Stream(10)
	var rounds [2][]int
	for r := range rounds {
		for range n.Len() {
			clock.Run(s.wait())
			rounds[r] = append(rounds[r], s.take())
		}
	}
	require.Equal(t, time.Duration(2*n.Len()-1)*100*time.Millisecond, n.now())
	require.NotEqual(t, rounds[0], rounds[1])
	for _, round := range rounds {
		slices.Sort(round)
		for i, k := range round {
			require.Equal(t, i, k)
		}
	}
}

// While nobody reads nothing piles up.
func TestStreamWaitsForItsReader(t *testing.T) {
	clock := new(testutil.Clock)
	n, err := New(Default(1), clock)
	require.NoError(t, err)
	s := n.Stream(10)
	s.take()
	clock.Run(time.Hour)
	require.Zero(t, s.wait())
	s.take()
	require.Equal(t, 100*time.Millisecond, s.wait())
}

func TestStreamIsTheSameForAllReaders(t *testing.T) {
	one, other := network(t, Default(3)).Stream(10), network(t, Default(3)).Stream(1000)
	for range 5000 {
		require.Equal(t, one.take(), other.take())
	}
}

// A list brings all at once, in the proportions of the network, and then repeats
// itself slowly.
func TestList(t *testing.T) {
	n := network(t, Default(1))
	s := n.List(200, 10)
	dead := 0
	seen := make(map[int]bool)
	for range 200 {
		require.Zero(t, s.wait())
		i := s.take()
		seen[i] = true
		if i >= n.Servers() {
			dead++
		}
	}
	require.Len(t, seen, 200)
	require.Equal(t, 60, dead)
	require.Positive(t, s.wait())
	require.True(t, seen[s.take()])

	small := Default(1)
	small.Servers = 10
	n = network(t, small)
	require.Len(t, n.List(200, 10).order, n.Len())
}

// A feed puts what is there as long as somebody wants it.
func TestFeed(t *testing.T) {
	clock := new(testutil.Clock)
	n, err := New(Default(1), clock)
	require.NoError(t, err)
	backlog, got := 0, 0
	stop := n.List(200, 10).Feed(func(*enode.Node) { backlog++; got++ }, func() bool { return backlog < 300 })
	clock.Run(0)
	require.Equal(t, 200, got, "at once")
	clock.Run(5 * time.Second)
	require.InDelta(t, 250, got, 1)
	clock.Run(time.Hour)
	require.Equal(t, 300, got, "nobody wants more")
	backlog = 0
	clock.Run(time.Second)
	require.InDelta(t, 310, got, 1, "nothing has piled up")
	stop()
	clock.Run(time.Second)
	require.InDelta(t, 310, got, 1)
	require.Zero(t, clock.Timers())
}
