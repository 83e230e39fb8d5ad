package serverpool

import (
	"math"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// How long a server is left alone after an attempt.

// dialWaits returns the planned waits of a server that never connects.
func dialWaits(w *world, src *source, n *enode.Node, count int) (waits []int) {
	for range count {
		src.feed(n)
		require.NotNil(w.t, w.mustNext(time.Second))
		time.Sleep(blindTimeout + time.Millisecond)
		waits = append(waits, int(w.wait(n)/time.Second))
		time.Sleep(w.wait(n)*11/10 + 41*time.Second)
	}
	return waits
}

// Waits really grow for servers that never gave anything, up to an hour.
func TestWaitsOfValuelessServersGrow(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n, src := testutil.PublicNode(1), newSource()
		w.set(always(Yes), n)
		w.pool.AddSource(src)
		w.pool.Start()
		require.Equal(t,
			[]int{10, 15, 23, 35, 53, 80, 120, 180, 270, 405, 608, 912, 1368, 2052, 3078, 3600, 3600},
			dialWaits(w, src, n, 17))
	})
	inBubble(t, nil, func(t *testing.T, w *world) {
		n, src := testutil.PublicNode(1), newSource()
		w.pool.AddSource(src)
		w.pool.Start()
		var waits []int
		for range 60 {
			src.feed(n)
			require.Nil(t, w.next(time.Second))
			waits = append(waits, int(w.wait(n)/time.Second))
			time.Sleep(w.wait(n) * 11 / 10)
		}
		require.Equal(t, []int{10, 11, 12, 13, 14}, waits[:5], "no step is lost in rounding")
		require.Equal(t, []int{50, 51, 53, 55, 57}, waits[40:45], "2% a query")
	})
}

// A server of value waits longer and longer, until it is forgotten.
func TestServerIsForgottenAbove2000Hours(t *testing.T) {
	for name, answer := range map[string]Answer{"dialed": Yes, "queried": No} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				n := testutil.Node(1, 1, "10.0.0.1")
				w.pool.Start()
				w.befriend(1000, n)
				h := w.pool.historyOf(n)
				h.waitStart = h.waitEnd - 1990*3600
				require.NoError(t, w.pool.st.history.Set(w.pool.ns, n, h))
				require.NoError(t, w.pool.st.localAddress.Set(w.pool.ns, n, n.Record()))
				time.Sleep(12 * time.Second)
				require.Equal(t, "[hasValue]", w.state(n))
				w.set(always(answer), n)
				w.next(time.Second)
				time.Sleep(blindTimeout + time.Second)
				require.Equal(t, "[redialWait]", w.state(n))
				_, ok := w.pool.st.localAddress.Get(w.pool.ns, n)
				require.False(t, ok)
				time.Sleep(time.Second + persistInterval)
				require.Empty(t, keysOf(t, w.store.Database, "key/ns:"), "nothing is left of it")
				require.Equal(t, time.Hour, w.wait(n), "it is one without value now")
			})
		})
	}
}

func TestWaitAfterAGoodSessionIsShort(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.set(always(Yes), n)
		w.pool.Start()
		w.befriend(1000, n)
		failUntil(w, nil, n, 500*time.Second)
		time.Sleep(w.wait(n)*11/10 + 41*time.Second)
		planned := w.wait(n)
		serve(w.connect(w.mustNext(time.Second)), 500)
		w.pool.UnregisterNode(n)
		h := w.pool.historyOf(n)
		s := w.pool.serviceOf(n, h)
		want := s.total * 10000 * 10 / (float64(h.dialCost.Value(w.pool.logOffset())) * 500)
		require.Less(t, w.wait(n), planned)
		require.InDelta(t, max(10, math.Ceil(want)), w.wait(n).Seconds(), 1)
	})
}

// The timer adds up to 10%, what is stored does not.
func TestRunningWaitsAreJittered(t *testing.T) {
	inBubble(t, func(c *Config) { c.Remember = 200 }, func(t *testing.T, w *world) {
		w.pool.Start()
		nodes := publicNodes(0, 100)
		w.befriend(0, nodes...)
		ends := make(map[time.Duration]bool)
		for _, n := range nodes {
			require.Equal(t, 10*time.Second, w.wait(n))
			s, _ := w.pool.NodeStatus(n.ID())
			d := time.Duration(s.Wait)
			require.GreaterOrEqual(t, d, 10*time.Second)
			require.LessOrEqual(t, d, 11*time.Second)
			ends[d.Round(100*time.Millisecond)] = true
		}
		require.Greater(t, len(ends), 8, "they are spread")
	})
}

func TestNoNodeIsGivenOutTwiceWithin40Seconds(t *testing.T) {
	trusted := testutil.PublicNode(1)
	edit := func(c *Config) { c.Trusted = []string{trusted.String()} }
	inBubble(t, edit, func(t *testing.T, w *world) {
		nodes := publicNodes(2, 4)
		w.set(always(Yes), nodes...)
		w.pool.AddSource(newCycle(nodes...))
		w.pool.Start()
		last := make(map[enode.ID]time.Time)
		shortest := time.Hour
		for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); {
			n := w.next(time.Second)
			if n == nil {
				continue
			}
			if at, ok := last[n.ID()]; ok {
				shortest = min(shortest, time.Since(at))
			}
			last[n.ID()] = time.Now()
			serve(w.connect(n), 100)
			w.pool.UnregisterNode(n)
		}
		require.Len(t, last, 5)
		require.GreaterOrEqual(t, shortest, 40*time.Second)
		require.Less(t, shortest, 42*time.Second)
	})
}

// Another endpoint is another server; another record alone is not, and an old
// record is nothing new.
func TestOnlyANewEndpointResetsTheWait(t *testing.T) {
	for _, c := range []struct {
		name  string
		next  *enode.Node
		reset bool
	}{
		{"same endpoint, newer record", testutil.Node(1, 9, "11.0.0.1"), false},
		{"other endpoint, older record", testutil.Node(1, 4, "12.0.0.1"), false},
		{"other address, newer record", testutil.Node(1, 6, "12.0.0.1"), true},
		{"other port, newer record", testutil.Node(1, 6, "11.0.0.1", enr.TCP(1)), true},
	} {
		for when, at := range map[string]time.Duration{"waiting": 45 * time.Second, "after the wait": 200 * time.Second} {
			t.Run(c.name+", "+when, func(t *testing.T) {
				inBubble(t, nil, func(t *testing.T, w *world) {
					n, src := testutil.Node(1, 5, "11.0.0.1"), newSource()
					w.set(always(Yes), n)
					w.pool.AddSource(src)
					w.pool.Start()
					failUntil(w, src, n, 80*time.Second)
					time.Sleep(at)
					src.feed(c.next)
					if when == "waiting" && !c.reset {
						require.Nil(t, w.next(time.Second))
						return
					}
					require.NotNil(t, w.mustNext(time.Second))
					time.Sleep(blindTimeout + time.Second)
					if c.reset {
						require.Equal(t, 10*time.Second, w.wait(n))
					} else {
						require.Equal(t, 120*time.Second, w.wait(n))
					}
				})
			})
		}
	}
}
