package serverpool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// The life of a node, from a source to the moment when it is given out.

func TestCandidateIsAskedAndGivenOut(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.set(func(ctx context.Context) Answer {
			time.Sleep(time.Second)
			return Yes
		}, n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		require.Nil(t, w.next(500*time.Millisecond))
		require.Equal(t, "[query]", w.state(n))
		require.Equal(t, n.ID(), w.mustNext(time.Second).ID())
		require.Equal(t, "[dialed, dialTimeout]", w.state(n))
		require.Len(t, w.timesAsked(n), 1)
	})
}

func TestServerThatTakesNoQueriesIsDialed(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.set(always(Unasked), n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		require.Equal(t, n.ID(), w.mustNext(time.Second).ID())
		require.Equal(t, 1, w.pool.Status().Unasked)
		require.Zero(t, w.pool.Status().SaidYes, "it promised nothing")
	})
}

func TestWithoutQueryCandidatesAreReadyAtOnce(t *testing.T) {
	inBubble(t, func(c *Config) { c.Query = nil }, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		require.Equal(t, n.ID(), w.mustNext(time.Millisecond).ID())
		require.Zero(t, w.totalAsked())
	})
}

func TestNoAndSilenceCostAQuery(t *testing.T) {
	for name, r := range map[string]reply{"no": always(No), "silence": always(Silent), "no answer in time": mute} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				n := testutil.PublicNode(1)
				w.set(r, n)
				w.pool.AddSource(newSource(n))
				w.pool.Start()
				require.Nil(t, w.next(6*time.Second))
				require.Equal(t, "[redialWait]", w.state(n))
				h := w.pool.historyOf(n)
				require.EqualValues(t, 500, h.dialCost.Value(0))
				require.Equal(t, 10*time.Second, w.wait(n))
			})
		})
	}
}

func TestSilenceIsFiveSeconds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		var ended time.Duration
		w.set(func(ctx context.Context) Answer {
			<-ctx.Done()
			ended = time.Since(w.start)
			time.Sleep(time.Second)
			return Yes // too late
		}, n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		require.Nil(t, w.next(5*time.Second-time.Millisecond))
		require.Equal(t, "[query]", w.state(n))
		require.Nil(t, w.next(3*time.Second))
		require.Equal(t, "[redialWait]", w.state(n), "a late yes does not count")
		require.Equal(t, 5*time.Second, ended, "the query's context ends with it")
		require.Equal(t, 1, w.pool.Status().Silent)
	})
}

func TestNodeInTheDialProcessIsNotAskedAgain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		querying, ready, dialed, connected, waiting := testutil.PublicNode(1), testutil.PublicNode(2),
			testutil.PublicNode(3), testutil.PublicNode(4), testutil.PublicNode(5)
		w.set(mute, querying)
		w.set(always(Yes), ready, dialed, connected)
		src := newSource(dialed)
		w.pool.AddSource(src)
		w.pool.Start()
		require.Equal(t, dialed.ID(), w.mustNext(time.Second).ID())
		src.feed(connected)
		w.connect(w.mustNext(time.Second))
		// The query of ready is still under way when the other two are read.
		w.set(func(context.Context) Answer { time.Sleep(time.Second); return Yes }, ready)
		src.feed(waiting, querying, ready)
		require.Nil(t, w.next(500*time.Millisecond))
		all := publicNodes(1, 5)
		for range 20 {
			src.feed(all...)
		}
		require.Equal(t, ready.ID(), w.mustNext(time.Second).ID())
		require.Nil(t, w.next(2*time.Second))
		for i, n := range all {
			require.Len(t, w.timesAsked(n), 1, "node %d", i+1)
		}
		require.Equal(t, "[query]", w.state(querying))
		require.Equal(t, "[dialed, dialTimeout]", w.state(ready))
		require.Equal(t, "[connected]", w.state(connected))
		require.Equal(t, "[redialWait]", w.state(waiting))
	})
}

func TestQueriesAreMadeOnlyWhileSomebodyWaits(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		nodes := publicNodes(0, 50)
		w.set(always(Yes), nodes...)
		w.pool.AddSource(newSource(nodes...))
		w.pool.Start()
		time.Sleep(time.Hour)
		require.Zero(t, w.totalAsked())
		w.mustNext(time.Second)
		time.Sleep(time.Second)
		asked := w.totalAsked()
		require.LessOrEqual(t, asked, 2*minQueries) // each answer makes room for another, if it is not the one
		time.Sleep(time.Hour)
		require.Equal(t, asked, w.totalAsked())
	})
}

// The reader of a slow source is already waiting for it when the need ends.
func TestLateNodeOfASlowSourceIsNotAskedInVain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		first, late := testutil.PublicNode(1), testutil.PublicNode(2)
		w.set(always(Yes), first, late)
		src := newSource(first)
		w.pool.AddSource(src)
		w.pool.Start()
		w.mustNext(time.Second)
		synctest.Wait() // the need has ended
		src.feed(late)
		time.Sleep(time.Minute)
		require.Empty(t, w.timesAsked(late), "nobody waits")
		require.Equal(t, late.ID(), w.mustNext(time.Second).ID())
	})
}

func TestOldestAnswerIsGivenFirst(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		nodes := publicNodes(1, 3)
		for i, n := range nodes {
			w.set(func(context.Context) Answer {
				time.Sleep(time.Duration(3-i) * 10 * time.Millisecond) // the last one is fastest
				return Yes
			}, n)
		}
		w.pool.AddSource(newSource(nodes...))
		w.pool.Start()
		require.Equal(t, nodes[2].ID(), w.mustNext(time.Second).ID())
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, nodes[1].ID(), w.mustNext(time.Second).ID())
		require.Equal(t, nodes[0].ID(), w.mustNext(time.Second).ID())
	})
}

func TestUntakenCandidateCostsNothing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		nodes := publicNodes(1, 3)
		w.set(always(Yes), nodes...)
		w.pool.AddSource(newSource(nodes...))
		w.pool.Start()
		taken := w.mustNext(time.Second)
		time.Sleep(canDialTimeout - 100*time.Millisecond)
		for _, n := range nodes {
			if n.ID() != taken.ID() {
				require.Equal(t, "[canDial]", w.state(n))
			}
		}
		time.Sleep(200 * time.Millisecond)
		for _, n := range nodes {
			if n.ID() == taken.ID() {
				continue
			}
			require.Equal(t, "[redialWait]", w.state(n))
			require.Zero(t, w.pool.historyOf(n), "no cost, no planned wait")
		}
		time.Sleep(10 * time.Second)
		for _, n := range nodes {
			if n.ID() != taken.ID() {
				require.Equal(t, "[]", w.state(n), "the minimum wait is over")
			}
		}
	})
}

func TestSilentServersAreWarnedOfEveryTwentieth(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		nodes := publicNodes(0, 59)
		w.set(always(Silent), nodes...)
		w.pool.AddSource(newSource(nodes...))
		provePath(w)
		w.pool.Start()
		require.Nil(t, w.next(9*time.Second))
		require.Equal(t, 59, w.pool.Status().Silent)
		require.Equal(t, 2, w.log.count("Servers do not answer queries"))
	})
}

func TestTrustedServersAreNotAsked(t *testing.T) {
	trusted := testutil.PublicNode(1)
	edit := func(c *Config) { c.Trusted = []string{"enode://nonsense", "", trusted.String()} }
	inBubble(t, edit, func(t *testing.T, w *world) {
		w.pool.Start()
		require.Equal(t, trusted.ID(), w.mustNext(time.Millisecond).ID())
		require.Equal(t, "[dialed, dialTimeout, alwaysConnect]", w.state(trusted))
		require.Zero(t, w.totalAsked())
		require.Equal(t, 2, w.log.count("Trusted server is skipped"))
	})
}

// Neither the number of queries under way nor their rate holds a trusted server
// back.
func TestTrustedServersAreNotGatedByQueries(t *testing.T) {
	trusted := testutil.PublicNode(1)
	edit := func(c *Config) {
		c.Trusted = []string{trusted.String()}
		c.QueryRate, c.QueryBurst = 0.001, maxQueries
	}
	inBubble(t, edit, func(t *testing.T, w *world) {
		w.pool.Start()
		w.connect(w.mustNext(time.Second))
		nodes := publicNodes(10, 100)
		w.set(mute, nodes...)
		w.pool.AddSource(newSource(nodes...))
		require.Nil(t, w.next(time.Minute)) // uses up all queries
		w.pool.UnregisterNode(trusted)
		require.Equal(t, trusted.ID(), w.mustNext(12*time.Second).ID())
	})
}

func TestConnectedNodeDoesNotComeOutOfTheIterator(t *testing.T) {
	for name, edit := range map[string]func(*Config){"unasked": func(c *Config) { c.Query = nil }, "asked": nil} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, edit, func(t *testing.T, w *world) {
				n, other := testutil.PublicNode(1), testutil.PublicNode(2)
				w.set(always(Yes), n, other)
				w.pool.AddSource(newCycle(n))
				w.pool.Start()
				w.connect(n)
				require.Nil(t, w.next(time.Minute))
				require.Equal(t, "[connected]", w.state(n))
			})
		})
	}
}

// A candidate that connects by itself before Next takes it is none any more.
func TestCandidateThatConnectsFirstIsNotGivenOut(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		nodes := publicNodes(1, 3)
		w.set(always(Yes), nodes...)
		w.pool.AddSource(newSource(nodes...))
		w.pool.Start()
		taken := w.mustNext(time.Second)
		time.Sleep(time.Second)
		var left []string
		for _, n := range nodes {
			if n.ID() != taken.ID() {
				require.Equal(t, "[canDial]", w.state(n))
				w.connect(n)
				require.Nil(t, w.pool.give(n), "nor if Next had just chosen it")
				left = append(left, w.state(n))
			}
		}
		require.Equal(t, []string{"[connected]", "[connected]"}, left)
		require.Nil(t, w.next(time.Minute))
	})
}
