package serverpool

import (
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// Servers that become trusted while the pool runs, and nodes that are forgotten.

func TestSetTrustedWhileRunning(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n, src := testutil.PublicNode(1), newSource()
		w.pool.AddSource(src)
		w.pool.Start()
		w.set(always(Unasked), n)
		failUntil(w, src, n, 200*time.Second)
		require.NoError(t, w.pool.SetTrusted(n, true))
		require.Equal(t, n.ID(), w.mustNext(time.Minute).ID(), "its waits are over")
		require.Contains(t, w.state(n), "alwaysConnect")
		require.Equal(t, 1, w.pool.Status().Trusted)
		w.connect(n)
		w.pool.UnregisterNode(n)
		require.NoError(t, w.pool.SetTrusted(n, false))
		require.Nil(t, w.next(30*time.Minute), "an ordinary one again")
		require.Equal(t, "[]", w.state(n))
	})
}

// What is forgotten leaves no trace, in whatever state it is.
func TestForgetLeavesNothing(t *testing.T) {
	for name, state := range map[string]func(w *world, src *source, n *enode.Node){
		"known":   func(w *world, _ *source, n *enode.Node) { w.befriend(100, n); time.Sleep(11 * time.Second) },
		"waiting": func(w *world, _ *source, n *enode.Node) { w.befriend(100, n) },
		"asked":   func(w *world, src *source, n *enode.Node) { w.set(mute, n); src.feed(n); w.next(time.Second) },
		"dialed": func(w *world, src *source, n *enode.Node) {
			w.set(always(Yes), n)
			src.feed(n)
			w.mustNext(time.Second)
		},
		"valueless": func(w *world, src *source, n *enode.Node) {
			w.set(always(Yes), n)
			failUntil(w, src, n, 60*time.Second)
		},
		"banned": func(w *world, _ *source, n *enode.Node) {
			require.NoError(w.t, w.pool.Ban(n, time.Hour, "spam"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				n, src := testutil.Node(1, 1, "10.0.0.1"), newSource() // with a local address to remember
				w.pool.AddSource(src)
				w.pool.Start()
				state(w, src, n)
				time.Sleep(20 * time.Millisecond)
				require.NoError(t, w.pool.Forget(n.ID()))
				time.Sleep(updatePeriod + persistInterval)
				require.Equal(t, "[]", w.state(n))
				require.Equal(t, history{}, w.pool.historyOf(n))
				_, ok := w.pool.NodeStatus(n.ID())
				require.False(t, ok)
				require.Empty(t, w.pool.Bans())
				for _, prefix := range []string{"key/", "vtNode:"} {
					require.Empty(t, keysOf(t, w.store.Database, prefix))
				}
				w.set(always(Yes), n)
				src.feed(n)
				require.Equal(t, n.ID(), w.mustNext(time.Second).ID(), "it may come as any other")
			})
		})
	}
}

// What was given out a moment ago is not given out again, forgotten or not:
// p2p would drop it.
func TestForgottenNodeIsNotGivenOutTwice(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n, src := testutil.PublicNode(1), newSource()
		w.set(always(Yes), n)
		w.pool.AddSource(src)
		w.pool.Start()
		src.feed(n)
		w.mustNext(time.Second)
		begin := time.Now()
		require.NoError(t, w.pool.Forget(n.ID()))
		for time.Since(begin) < defaultMinRedial-time.Second {
			src.feed(n)
			require.Nil(t, w.next(time.Second))
		}
		time.Sleep(2 * time.Second)
		src.feed(n)
		require.Equal(t, n.ID(), w.mustNext(time.Second).ID())
	})
}

func TestForgettingAConnectedServer(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.Node(1, 1, "10.0.0.1")
		w.set(always(Yes), n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		tracker := w.connect(w.mustNext(time.Second))
		serve(tracker, 1000)
		public := testutil.Node(1, 2, "99.0.0.1")
		require.Equal(t, "10.0.0.1", w.pool.DialNode(public).IP().String())
		require.NoError(t, w.pool.Forget(n.ID()))
		require.Equal(t, "99.0.0.1", w.pool.DialNode(public).IP().String())
		require.Equal(t, "[connected]", w.state(n))
		serve(tracker, 10)
		s, ok := w.pool.NodeStatus(n.ID())
		require.True(t, ok)
		require.InDelta(t, 10, s.Value, 0.1)
		require.InDelta(t, 10, s.SessionValue, 0.1)
		w.pool.UnregisterNode(n)
		require.Equal(t, "[hasValue, redialWait]", w.state(n))
		require.InDelta(t, 10, w.pool.serviceOf(n, history{}).total, 0.1)
	})
}

// A store that fails keeps the value, and says so.
func TestForgetTellsOfAStoreThatFails(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.Start()
		w.befriend(100, n)
		restart(w, nil)
		w.store.FailIf(func(op string) bool { return op == "get" || op == "has" })
		require.Error(t, w.pool.Forget(n.ID()))
		w.store.FailIf(nil)
		w.pool.Start()
		require.Equal(t, 1, w.pool.Status().Restored)
	})
}
