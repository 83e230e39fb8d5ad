package serverpool

import (
	"math"
	"net"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// The life of a node, from the connection on: sessions and what they are worth.

func TestSessionFromRegisterToUnregister(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.set(always(Yes), n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		serve(w.connect(w.mustNext(time.Second)), 5)
		require.Equal(t, "[connected]", w.state(n))
		stats, ok := w.pool.st.connectedStats.Get(w.pool.ns, n)
		require.True(t, ok)
		require.Zero(t, stats.Value(w.pool.timeoutWeights(), w.pool.values.StatsExpFactor()), "as they were at connection")
		w.pool.UnregisterNode(n)
		require.Equal(t, "[hasValue, redialWait]", w.state(n))
		_, ok = w.pool.st.connectedStats.Get(w.pool.ns, n)
		require.False(t, ok)
		require.EqualValues(t, 10000, w.pool.historyOf(n).dialCost.Value(0))
	})
}

func TestRegisterTwiceIsOneSession(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1) // the pool never gave it out
		w.pool.Start()
		first, second := w.connect(n), w.connect(n)
		require.Same(t, first, second)
		w.pool.UnregisterNode(n)
		require.Equal(t, "[connected]", w.state(n))
		w.pool.UnregisterNode(n)
		require.Equal(t, "[redialWait]", w.state(n))
		w.pool.UnregisterNode(n) // once too often
		require.EqualValues(t, 10000, w.pool.historyOf(n).dialCost.Value(0))
	})
}

func TestRegisterInEveryState(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		querying, ready, waiting := testutil.PublicNode(1), testutil.PublicNode(2), testutil.PublicNode(3)
		w.set(mute, querying)
		w.set(always(Yes), ready, testutil.PublicNode(4))
		w.pool.AddSource(newSource(waiting, querying, ready, testutil.PublicNode(4)))
		w.pool.Start()
		w.mustNext(time.Second)
		time.Sleep(time.Second)
		for _, n := range []*enode.Node{querying, ready, waiting, testutil.PublicNode(5)} {
			w.connect(n)
			require.Equal(t, "[connected]", w.state(n))
		}
		require.Equal(t, 4, w.pool.Status().Connected)
		time.Sleep(time.Hour)
		require.Equal(t, "[connected]", w.state(querying), "no timeout is left of the time before")
	})
}

// weightOf returns the chance of a known server to be chosen.
func (w *world) weightOf(n *enode.Node) uint64 {
	weight, _ := w.pool.st.weight.Get(w.pool.ns, n)
	return weight
}

func TestWeightIsValuePerCost(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.Start()
		w.befriend(50, n)
		value := w.pool.serviceOf(n, history{}).total
		require.InDelta(t, 50, value, 0.1)
		require.EqualValues(t, math.Floor(1e6*value/10000), w.weightOf(n), "one dial")
		w.befriend(0, n)
		require.InDelta(t, 1e6*value/20000, float64(w.weightOf(n)), 5, "two dials")
	})
}

func TestServerIsKnownFromWeight100On(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n, m := testutil.PublicNode(1), testutil.PublicNode(2)
		w.pool.Start()
		w.befriend(2, n)
		require.Equal(t, "[hasValue, redialWait]", w.state(n), "2 requests a dial are worth 200")
		w.befriend(1, m)
		require.Equal(t, "[redialWait]", w.state(m), "hardly less than 100")
		for range 2 {
			w.befriend(0, n)
		}
		require.Equal(t, "[redialWait]", w.state(n), "2 requests for 3 dials are too few")
		require.Zero(t, w.weightOf(n))
		require.Zero(t, w.pool.Status().Known)
	})
}

func TestWeightOfConnectedServersIsKeptUpToDate(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.Start()
		tracker := w.connect(n)
		serve(tracker, 100)
		require.Equal(t, "[connected]", w.state(n))
		time.Sleep(updatePeriod + time.Millisecond)
		require.Equal(t, "[hasValue, connected]", w.state(n))
		before := w.weightOf(n)
		serve(tracker, 100)
		time.Sleep(updatePeriod)
		require.InDelta(t, 2*before, w.weightOf(n), 10)
	})
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.Start()
		serve(w.connect(n), 100)
		restart(w, nil) // Stop brings it up to date as well
		w.pool.Start()
		require.True(t, containsNode(w.pool.KnownServers(), n))
		require.NotZero(t, w.weightOf(n))
	})
}

func TestLocalAddressIsRememberedAndForgotten(t *testing.T) {
	for name, ip := range map[string]string{"loopback": "127.0.0.1", "local network": "192.168.3.4"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				public := testutil.Node(1, 1, "11.0.0.1")
				src := newSource(public)
				w.set(always(Yes), public)
				w.pool.AddSource(src)
				w.pool.Start()
				w.mustNext(time.Second)
				local := testutil.Node(1, 1, ip)
				serve(w.connect(local), 100) // this is where it was reached
				w.pool.UnregisterNode(public)
				require.Equal(t, ip, w.pool.DialNode(public).IP().String())
				require.Equal(t, public.ID(), w.pool.DialNode(public).ID())
				time.Sleep(50 * time.Second)
				got := w.mustNext(time.Second)
				require.Equal(t, ip, got.IP().String(), "Next gives the address too")
				time.Sleep(blindTimeout + time.Second)
				require.Equal(t, "11.0.0.1", w.pool.DialNode(public).IP().String(), "the dial failed")
			})
		})
	}
	t.Run("not of others", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, w *world) {
			inbound := testutil.Node(1, 1, "127.0.0.1")
			w.pool.Start()
			w.befriend(100, inbound)
			_, ok := w.pool.st.localAddress.Get(w.pool.ns, inbound)
			require.False(t, ok, "the pool did not give it out")
		})
	})
}

// p2p describes a peer that came to us by the port that it came from.
func TestInboundPeerIsNoCandidateUntilItsRecordIsKnown(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		confirmed := testutil.PublicNode(1)
		inbound := enode.NewV4(&testutil.Key(1).PublicKey, net.IP{11, 0, 1, 7}, 54321, 54321)
		require.Equal(t, inbound.ID(), confirmed.ID())
		w.set(always(Yes), confirmed)
		src := newSource()
		w.pool.AddSource(src)
		w.pool.Start()
		w.befriend(1000, inbound)
		require.Equal(t, "[redialWait]", w.state(inbound))
		require.Nil(t, w.next(time.Hour))
		src.feed(confirmed)
		got := w.mustNext(time.Second)
		require.Equal(t, 30303, got.TCP())
		w.connect(got)
		require.Equal(t, "[hasValue, connected]", w.state(got), "what it did before counts now")
	})
	inBubble(t, nil, func(t *testing.T, w *world) {
		inbound := enode.NewV4(&testutil.Key(1).PublicKey, net.IP{11, 0, 1, 7}, 54321, 54321)
		w.set(always(Yes), inbound)
		src := newSource()
		w.pool.AddSource(src)
		w.pool.Start()
		serve(w.connect(inbound), 1000)
		src.feed(testutil.PublicNode(1)) // discovery finds it while it is connected
		require.Nil(t, w.next(time.Second))
		w.pool.UnregisterNode(inbound)
		require.Equal(t, "[hasValue, redialWait]", w.state(inbound))
		require.Equal(t, 30303, w.mustNext(12*time.Second).TCP())
	})
}

// A known server that moves is found at its new address, although discovery
// names that while the server is left alone.
func TestNewerRecordOfAKnownServerIsAdopted(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n, moved := testutil.Node(1, 1, "11.0.0.1"), testutil.Node(1, 2, "12.0.0.1")
		w.set(always(Yes), n)
		src := newSource()
		w.pool.AddSource(src)
		w.pool.Start()
		w.befriend(1000, n)
		src.feed(moved, n) // the old record comes again
		require.Nil(t, w.next(5*time.Second))
		require.Equal(t, "12.0.0.1", w.mustNext(10*time.Second).IP().String())
	})
}

func TestRecommendedTimeout(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		require.InDelta(t, 4, w.pool.GetTimeout().Seconds(), 0.3, "twice the pseudo-answer's 2 s")
		w.pool.Start()
		tracker := w.connect(testutil.PublicNode(1))
		tracker.Served([]ServedRequest{{ReqType: 0, Amount: 1e6}}, 10*time.Millisecond)
		require.InDelta(t, 4, w.pool.GetTimeout().Seconds(), 0.3, "not computed anew yet")
		time.Sleep(timeoutRefresh)
		require.Equal(t, minTimeout, w.pool.GetTimeout())
		tracker.Failed([]ServedRequest{{ReqType: 0, Amount: 1e6}})
		time.Sleep(timeoutRefresh)
		require.Equal(t, minTimeout, w.pool.GetTimeout(), "failures don't count")
		tracker.Served([]ServedRequest{{ReqType: 0, Amount: 3e5}}, 3*time.Second)
		time.Sleep(timeoutRefresh)
		require.InDelta(t, 3, w.pool.GetTimeout().Seconds(), 0.7, "more than a tenth take that long")
	})
}
