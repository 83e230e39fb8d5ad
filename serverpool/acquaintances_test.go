package serverpool

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/nodestate"
)

// Servers that have said no and are asked again without being found again.

// amongFull tells the story of a pool that wants two servers, has them, and has
// heard no from some others in the meantime. These have room whenever room is true.
func amongFull(t *testing.T, count uint64, story func(t *testing.T, w *world, full, connected []*enode.Node, room *atomic.Bool)) {
	inBubble(t, func(c *Config) { c.Wanted = 2 }, func(t *testing.T, w *world) {
		full, free := publicNodes(100, count), publicNodes(1, 2)
		var room atomic.Bool
		w.set(func(ctx context.Context) Answer {
			if room.Load() {
				return always(Yes)(ctx)
			}
			return always(No)(ctx)
		}, full...)
		src := newSource(full...)
		w.pool.AddSource(src)
		w.pool.Start()
		require.Nil(t, w.next(time.Minute))
		w.set(always(Yes), free...)
		src.feed(free...)
		for range free {
			w.connect(w.mustNext(time.Minute))
		}
		w.set(always(No), free...)
		story(t, w, full, free, &room)
	})
}

func (w *world) acquaintances() (nodes []*enode.Node) {
	synctest.Wait()
	for n := range w.pool.ns.All(w.pool.st.acquainted, nodestate.Flags{}) {
		nodes = append(nodes, n)
	}
	return nodes
}

func TestAcquaintanceTakesAFreePlace(t *testing.T) {
	amongFull(t, 10, func(t *testing.T, w *world, full, connected []*enode.Node, room *atomic.Bool) {
		require.Len(t, w.acquaintances(), 10)
		time.Sleep(acquaintanceRest)
		room.Store(true)
		asked := w.totalAsked()
		w.pool.UnregisterNode(connected[0])
		n := w.mustNext(5 * time.Second)
		require.True(t, containsNode(full, n), "nothing was discovered")
		require.LessOrEqual(t, w.totalAsked()-asked, minQueries, "few are asked for one server")
	})
}

// While the pool has not had enough servers yet, or has none, it takes what it
// finds, and does not ask again those who have just said no.
func TestAcquaintancesAreNotAskedInAHurry(t *testing.T) {
	amongFull(t, 10, func(t *testing.T, w *world, full, connected []*enode.Node, room *atomic.Bool) {
		for _, n := range full {
			require.Len(t, w.timesAsked(n), 1, "for a minute there was no server")
		}
		time.Sleep(acquaintanceRest)
		room.Store(true)
		for _, n := range connected {
			w.pool.UnregisterNode(n)
		}
		require.Nil(t, w.next(time.Minute))
	})
}

func TestAcquaintancesRest(t *testing.T) {
	amongFull(t, 10, func(t *testing.T, w *world, full, connected []*enode.Node, _ *atomic.Bool) {
		time.Sleep(acquaintanceRest)
		w.pool.UnregisterNode(connected[0])
		require.Nil(t, w.next(20*time.Minute))
		for _, n := range full {
			times := w.timesAsked(n)
			require.GreaterOrEqual(t, len(times), 8, "they are asked again and again")
			for i := range times[1:] {
				require.GreaterOrEqual(t, times[i+1]-times[i], acquaintanceRest)
			}
		}
	})
}

// One that breaks its promise is none any more, and neither is one that gave
// something: that is a known server.
func TestAcquaintancesThatAreNoneAnyMore(t *testing.T) {
	amongFull(t, 2, func(t *testing.T, w *world, full, connected []*enode.Node, room *atomic.Bool) {
		time.Sleep(acquaintanceRest)
		room.Store(true)
		w.pool.UnregisterNode(connected[0])
		d := w.pool.Dialer(dialFunc(func(context.Context, *enode.Node) (net.Conn, error) { return nil, errRefused }))
		liar := w.mustNext(5 * time.Second)
		_, err := d.Dial(t.Context(), liar)
		require.ErrorIs(t, err, errRefused)
		other := w.mustNext(5 * time.Second)
		require.NotEqual(t, liar.ID(), other.ID())
		serve(w.connect(other), 100)
		w.pool.UnregisterNode(other)
		require.Equal(t, "[redialWait]", w.pool.ns.GetState(liar).String(), "it cannot be believed")
		w.set(always(No), other)
		require.Nil(t, w.next(10*time.Minute))
		require.Empty(t, guarded(w.pool, w.pool.mu.acquaintances.ids))
	})
}

// Only the latest are kept, and the others are forgotten.
func TestAcquaintancesAreBounded(t *testing.T) {
	amongFull(t, maxAcquaintances+10, func(t *testing.T, w *world, full, _ []*enode.Node, _ *atomic.Bool) {
		met := w.acquaintances()
		require.Len(t, met, maxAcquaintances)
		for _, n := range full[:minQueries] { // who were the first to be asked
			require.False(t, containsNode(met, n))
		}
		time.Sleep(time.Minute)
		require.Nil(t, w.pool.ns.GetNode(full[0].ID()))
		require.NoError(t, w.pool.Forget(full[100].ID()))
		require.Len(t, w.acquaintances(), maxAcquaintances-1)
	})
}

func TestNearerAcquaintancesAreAskedMore(t *testing.T) {
	require.InDelta(t, 4, float64(nearness(100*time.Millisecond))/float64(nearness(200*time.Millisecond)), 0.1)
	require.Equal(t, nearness(nearest), nearness(0), "not measured, or too near to tell")
	require.EqualValues(t, 1, nearness(time.Hour))
	amongFull(t, 1, func(t *testing.T, w *world, full, _ []*enode.Node, _ *atomic.Bool) {
		weight, ok := w.pool.st.nearness.Get(w.pool.ns, full[0])
		require.True(t, ok)
		require.Equal(t, nearness(5*time.Millisecond), weight, "as its answer took")
	})
}

// Whom the pool asks in order to replace a slow server: those that may be better, and
// good enough to be kept. Nobody answers sooner than a packet makes its way.
func TestWhoIsAskedToReplaceAServer(t *testing.T) {
	for name, c := range map[string]struct {
		rtt   time.Duration
		given []float64 // what it gave before, if it did
		may   bool
	}{
		"nothing is known of it":        {may: true},
		"it is near":                    {rtt: 50 * time.Millisecond, may: true},
		"it is too far away":            {rtt: 2 * time.Second},
		"it was good":                   {rtt: 50 * time.Millisecond, given: []float64{0.5}, may: true},
		"it was worse":                  {given: []float64{-0.5}},
		"it was better, but not enough": {given: []float64{0.1}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				slow, n := publicNodes(1, 1)[0], publicNodes(2, 1)[0]
				w.pool.Start()
				w.connect(slow)
				w.pool.mu.Lock()
				defer w.pool.mu.Unlock()
				s, r := w.pool.mu.sessions[slow.ID()], &w.pool.mu.replacing
				s.answers, s.sum = 100, 100*scoreOf(time.Second)
				r.leaving, r.isSet, r.limit = slow.ID(), true, 0.2
				w.pool.mu.path4.hear(Yes, w.pool.clock.Now())
				w.pool.mu.conducts.put(n.ID(), conduct{answered: true, no: 3, kept: 3, rtt: c.rtt})
				for _, mean := range c.given {
					*r.given.latest(n.ID()) = mean
				}
				require.Equal(t, c.may, w.pool.mayReplaceLocked(n))
			})
		})
	}
}

// Where servers are dialed unasked, those that were there but full are dialed before
// those of which nothing is known.
func TestAcquaintancesByDials(t *testing.T) {
	edit := func(c *Config) { c.Query, c.Wanted = nil, 2 }
	inBubble(t, edit, func(t *testing.T, w *world) {
		full, dead, free := publicNodes(100, 3), publicNodes(200, 3), publicNodes(1, 2)
		dialer := w.pool.Dialer(dialFunc(func(_ context.Context, n *enode.Node) (net.Conn, error) {
			if containsNode(dead, n) {
				return nil, errRefused
			}
			time.Sleep(30 * time.Millisecond)
			ours, theirs := net.Pipe()
			if containsNode(full, n) {
				theirs.Close()
			}
			return ours, nil
		}))
		dial := func(n *enode.Node) {
			if conn, err := dialer.Dial(t.Context(), n); err == nil && !containsNode(free, n) {
				conn.Close()
			}
		}
		src := newSource(append(append(full, dead...), free...)...)
		w.pool.AddSource(src)
		w.pool.Start()
		var connected []*enode.Node
		for range len(full) + len(dead) + len(free) {
			n := w.mustNext(time.Second)
			if dial(n); containsNode(free, n) {
				w.connect(n)
				connected = append(connected, n)
			}
		}
		require.ElementsMatch(t, full, w.acquaintances())
		weight, _ := w.pool.st.nearness.Get(w.pool.ns, full[0])
		require.Equal(t, nearness(30*time.Millisecond), weight, "as its connection took")

		w.pool.UnregisterNode(connected[0])
		time.Sleep(blindRest / 2)
		stranger := publicNodes(300, 1)[0]
		src.feed(stranger)
		require.Equal(t, stranger.ID(), w.mustNext(time.Second).ID(), "the others rest")
		w.connect(stranger)
		time.Sleep(blindRest)
		w.pool.UnregisterNode(connected[1])
		src.feed(publicNodes(301, 3)...)
		for range full {
			n := w.mustNext(time.Second)
			require.True(t, containsNode(full, n))
			dial(n)
		}
		require.False(t, containsNode(full, w.mustNext(time.Second)), "they have been tried")
		require.ElementsMatch(t, full, w.acquaintances())
	})
}

// One that is gone when it is dialed again is no acquaintance any more.
func TestAcquaintanceThatIsGone(t *testing.T) {
	inBubble(t, func(c *Config) { c.Query = nil }, func(t *testing.T, w *world) {
		n, there := publicNodes(1, 1)[0], true
		dialer := w.pool.Dialer(dialFunc(func(context.Context, *enode.Node) (net.Conn, error) {
			if !there {
				return nil, errRefused
			}
			ours, theirs := net.Pipe()
			theirs.Close()
			return ours, nil
		}))
		src := newSource(n)
		w.pool.AddSource(src)
		w.pool.Start()
		conn, err := dialer.Dial(t.Context(), w.mustNext(time.Second))
		require.NoError(t, err)
		conn.Close()
		require.Len(t, w.acquaintances(), 1)
		there = false
		time.Sleep(blindRest)
		src.feed(n)
		_, err = dialer.Dial(t.Context(), w.mustNext(time.Second))
		require.ErrorIs(t, err, errRefused)
		require.Empty(t, w.acquaintances())
	})
}
