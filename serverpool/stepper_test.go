package serverpool

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lespool/lespool/internal/testutil"
)

// The same seed and the same events give the same story, word for word, and no
// goroutine takes part in it.
func TestSteppedPoolRepeatsItself(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	first := steppedStory(t, 1)
	require.Equal(t, first, steppedStory(t, 1))
	require.NotEqual(t, first, steppedStory(t, 2))
	require.Greater(t, strings.Count(first, "connected"), 20)
	require.Greater(t, strings.Count(first, "refused"), 5)
}

// steppedStory tells an hour in which some servers have room, all answers take
// their time, and connections last some minutes.
func steppedStory(t *testing.T, seed uint64) string {
	clock, start := new(testutil.Clock), time.Unix(1e9, 0)
	var story strings.Builder
	tell := func(what string, n *enode.Node) {
		fmt.Fprintf(&story, "%v %s %v\n", time.Duration(clock.Now()), what, n.ID().TerminalString())
	}
	rnd := rand.New(rand.NewPCG(seed, 7))
	after := func(d time.Duration, f func()) { clock.AfterFunc(d, f) }
	ask := func(n *enode.Node, answered func(Answer)) {
		tell("asked", n)
		after(50*time.Millisecond, func() { answered([]Answer{No, Silent, Yes}[rnd.IntN(3)]) })
	}
	p, s, err := NewStepped(Config{
		Requests:  testRequests,
		Clock:     clock,
		WallClock: func() time.Time { return start.Add(time.Duration(clock.Now())) },
		Seed:      seed,
		Trusted:   []string{testutil.PublicNode(1000).String()},
	}, ask)
	require.NoError(t, err)
	defer p.Stop()
	var dial func(n *enode.Node)
	dial = func(n *enode.Node) {
		tell("dialed", n)
		d := s.DialBegins(n)
		after(100*time.Millisecond, func() {
			if rnd.IntN(4) == 0 {
				tell("refused", n)
				d.Failed()
				s.Next(dial)
				return
			}
			d.Connected()
			after(100*time.Millisecond, func() {
				tell("connected", n)
				tracker, err := p.RegisterNode(n)
				require.NoError(t, err)
				serve(tracker, 100)
				after(time.Duration(1+rnd.IntN(5))*time.Minute, func() {
					p.UnregisterNode(n)
					s.Next(dial)
				})
			})
		})
	}
	p.Start()
	s.Discover(publicNodes(0, 200)...)
	for range 3 {
		s.Next(dial)
	}
	clock.Run(time.Hour)
	require.Less(t, s.Undiscovered(), 150)
	require.Zero(t, p.calls.mu.n, "goroutines")
	return story.String()
}

func TestSteppedPoolNeedsItsClock(t *testing.T) {
	_, _, err := NewStepped(Config{Requests: testRequests}, nil)
	require.ErrorContains(t, err, "Config.Clock")
	_, _, err = NewStepped(Config{Clock: new(testutil.Clock), Query: (&world{}).query}, nil)
	require.ErrorContains(t, err, "Config.Query")
	_, _, err = NewStepped(Config{Clock: new(testutil.Clock)}, nil)
	require.ErrorContains(t, err, "Config.Requests")
}

// Without queries, and with a dial that nobody begins, a stepped pool does what
// any pool does.
func TestSteppedPoolTakesBackWhatIsNotDialed(t *testing.T) {
	clock := new(testutil.Clock)
	p, s, err := NewStepped(Config{Requests: testRequests, Clock: clock}, nil)
	require.NoError(t, err)
	defer p.Stop()
	p.Start()
	n := testutil.PublicNode(1)
	given := 0
	s.Next(func(*enode.Node) { given++ })
	s.Discover(n, n)
	clock.Run(time.Second)
	require.Equal(t, 1, given)
	clock.Run(time.Minute)
	require.Equal(t, 1, p.Status().Returned)
	s.Next(func(*enode.Node) { given++ })
	s.Discover(n)
	clock.Run(time.Second)
	require.Equal(t, 2, given)
}
