package serverpool

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// How many queries are made, and query functions that misbehave.

// underWay returns how many queries are being made.
func (w *world) underWay() int {
	return guarded(w.pool, func() int { return len(w.pool.mu.queries) })
}

func TestQueriesUnderWayGoFrom3To32AndBack(t *testing.T) {
	inBubble(t, func(c *Config) { c.QueryRate = -1 }, func(t *testing.T, w *world) {
		full, good := publicNodes(0, 500), publicNodes(1000, 10)
		src := newSource(full...)
		w.set(mute, full...)
		w.set(always(Yes), good...)
		w.pool.AddSource(src)
		w.pool.Start()
		require.Nil(t, w.next(time.Second))
		require.Equal(t, 3, w.underWay())
		provePath(w)
		require.Nil(t, w.next(5*time.Second))
		require.Equal(t, 6, w.underWay(), "one more for each that was lost")
		require.Nil(t, w.next(25*time.Second))
		require.Equal(t, 32, w.underWay())
		w.set(always(No), full...)
		src.feed(good...)
		for range good {
			w.mustNext(time.Minute)
		}
		require.Less(t, guarded(w.pool, w.pool.mu.limit.limit), 16, "halved by each that was found")
	})
}

// provePath has the pool know that UDP works, so that silence is the servers'.
func provePath(w *world) {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.pool.mu.path4.hear(No, w.pool.clock.Now())
}

// An application that takes its time is no reason to ask more servers.
func TestUntakenCandidatesDoNotRaiseTheLimit(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		nodes := publicNodes(0, 200)
		w.set(always(Yes), nodes...)
		w.pool.AddSource(newSource(nodes...))
		w.pool.Start()
		for range 20 {
			w.mustNext(time.Second)
			time.Sleep(canDialTimeout + time.Second)
		}
		require.LessOrEqual(t, w.totalAsked(), 20*(minQueries+1))
	})
}

// A burst of 200, then 20 a second.
func TestQueryRateIsBounded(t *testing.T) {
	var many []*enode.Node
	for i := range uint64(2000) {
		many = append(many, testutil.FakeNode(i, 1))
	}
	for name, c := range map[string]struct {
		edit         func(*Config)
		first, later int // queries in the first second and in the next 50
	}{
		"default":    {func(*Config) {}, 220, 1000},
		"configured": {func(c *Config) { c.QueryRate, c.QueryBurst = 2, 10 }, 12, 100},
		"tiny":       {func(c *Config) { c.QueryRate, c.QueryBurst = 1e-300, 5 }, 5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.edit, func(t *testing.T, w *world) {
				w.pool.AddSource(newSource(many...))
				w.pool.Start()
				require.Nil(t, w.next(time.Second))
				require.InDelta(t, c.first, w.totalAsked(), 35)
				require.LessOrEqual(t, w.totalAsked(), c.first)
				before := w.totalAsked()
				require.Nil(t, w.next(50*time.Second))
				require.InDelta(t, c.later, w.totalAsked()-before, 35)
			})
		})
	}
	t.Run("off", func(t *testing.T) {
		inBubble(t, func(c *Config) { c.QueryRate = -1 }, func(t *testing.T, w *world) {
			w.pool.AddSource(newSource(many...))
			w.pool.Start()
			require.Nil(t, w.next(time.Second))
			require.Equal(t, 2000, w.totalAsked())
		})
	})
}

func TestQueryThatPanicsIsSilence(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("query") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				bad, good := testutil.PublicNode(1), testutil.PublicNode(2)
				w.set(func(context.Context) Answer { end(); return Yes }, bad)
				w.set(always(Yes), good)
				w.pool.AddSource(newSource(bad, good))
				w.pool.Start()
				require.Equal(t, good.ID(), w.mustNext(time.Second).ID())
				time.Sleep(queryTimeout)
				require.Equal(t, "[redialWait]", w.state(bad))
				require.Equal(t, 1, w.pool.Status().Silent)
				require.Zero(t, guarded(w.pool, func() int { return w.pool.mu.calls }))
			})
		})
	}
}

func TestUndefinedAnswerIsSilence(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.set(always(Answer(77)), n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		require.Nil(t, w.next(time.Second))
		require.Equal(t, 1, w.pool.Status().Silent)
		require.Equal(t, "Answer(77)", Answer(77).String())
		require.Equal(t, "unasked", Unasked.String())
	})
}

// A query function that never returns is called a bounded number of times; then
// servers are dialed unasked.
func TestStuckQueriesDoNotEndTheSearch(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		release := make(chan struct{})
		recoverAll := sync.OnceFunc(func() { close(release) })
		defer recoverAll()
		nodes := publicNodes(0, 300)
		w.set(func(context.Context) Answer { <-release; return Yes }, nodes...)
		w.pool.AddSource(newSource(nodes...))
		w.pool.Start()
		provePath(w)
		require.NotNil(t, w.mustNext(2*time.Minute))
		synctest.Wait()
		require.Equal(t, maxCalls, w.totalAsked())
		require.Equal(t, 1, w.log.count("Queries do not return, servers are dialed unasked"))
		w.mustNext(time.Second)
		recoverAll() // they return
		w.mustNext(time.Second)
		time.Sleep(time.Second)
		w.set(always(Yes), nodes...)
		for range 30 { // more than have answered meanwhile
			w.mustNext(time.Second)
		}
		require.Greater(t, w.totalAsked(), maxCalls)
	})
}

func TestQueryContextEndsWithStop(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.set(mute, n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		require.Nil(t, w.next(time.Second))
		before := time.Now()
		w.pool.Stop()
		require.Zero(t, time.Since(before))
	})
}

// An answer that comes after the server connected, or after it was asked anew,
// is not taken.
func TestLateAnswerOfAnEarlierQueryDoesNotCount(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		var asked atomic.Int32
		w.set(func(context.Context) Answer {
			if asked.Add(1) == 1 {
				time.Sleep(17 * time.Second) // over in the middle of the second one
				return Yes
			}
			time.Sleep(3 * time.Second)
			return No
		}, n)
		src := newSource(n)
		w.pool.AddSource(src)
		w.pool.Start()
		require.Nil(t, w.next(16*time.Second+500*time.Millisecond))
		src.feed(n)
		require.Nil(t, w.next(10*time.Second))
		require.EqualValues(t, 2, asked.Load())
		require.Equal(t, Status{SaidNo: 1, Silent: 1}, Status{SaidNo: w.pool.Status().SaidNo, Silent: w.pool.Status().Silent})
	})
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.set(func(context.Context) Answer { time.Sleep(time.Second); return Yes }, n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		require.Nil(t, w.next(500*time.Millisecond))
		w.connect(n)
		require.Nil(t, w.next(time.Minute))
		require.Equal(t, "[connected]", w.state(n))
	})
}

// A server that takes no queries is dialed as often as its own waits allow,
// however many others answer.
func TestServersWithoutQueriesAreNotStarved(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		full, quiet := testutil.PublicNode(1), testutil.PublicNode(2)
		w.set(always(Unasked), quiet)
		src := newSource()
		w.pool.AddSource(src)
		w.pool.Start()
		dials := 0
		for end := time.Now().Add(20 * time.Minute); time.Now().Before(end); {
			src.feed(full, quiet)
			if n := w.next(time.Second); n != nil {
				require.Equal(t, quiet.ID(), n.ID())
				dials++
			}
		}
		// Each takes 30 s to expire, and the waits are 10, 15, 23, 35 … 270 s.
		require.InDelta(t, 10, dials, 1)
	})
}

func TestFixedQueryFunction(t *testing.T) {
	takes, old, empty, bare := testutil.PublicNode(1, lesEntry{{1}}), testutil.PublicNode(2, lesEntry{{0x80}}),
		testutil.PublicNode(3, lesEntry{}), testutil.PublicNode(4)
	for _, c := range []struct {
		node  *enode.Node
		value int
		want  Answer
	}{
		{takes, 1, Yes}, {takes, 0, No}, {takes, -1, Silent}, {takes, 2, Silent}, {takes, -7, Silent},
		{old, 1, Unasked}, {empty, 1, Unasked}, {bare, 1, Unasked}, {bare, 0, No}, {bare, -1, Silent},
	} {
		query := QueryFunc(func(n *enode.Node) int { return c.value })
		require.Equal(t, c.want, query.ask()(context.Background(), c.node), "%d from %v", c.value, c.node.ID())
	}
}
