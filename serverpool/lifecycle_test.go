package serverpool

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lespool/lespool/internal/testutil"
)

// The life cycle of the pool: what may be called when, and how it ends.

func TestNewStartsNothing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		src := newCycle(testutil.PublicNode(1))
		w.pool.AddSource(src)
		time.Sleep(time.Hour)
		require.Zero(t, src.reads.Load())
		require.Zero(t, w.store.Count("put")+w.store.Count("batch"))
	})
}

// p2p calls Next before anybody starts the pool.
func TestNextWaitsForStart(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		require.Nil(t, w.next(time.Hour))
		require.False(t, w.ended, "a mixer would drop it for good")
		n := testutil.PublicNode(1)
		w.set(always(Yes), n)
		w.pool.AddSource(newSource(n))
		require.Nil(t, w.next(time.Hour))
		w.pool.Start()
		require.Equal(t, n.ID(), w.mustNext(time.Second).ID())
	})
}

func TestCloseAndStopEndNextAtOnce(t *testing.T) {
	ends := map[string]func(p *ServerPool){
		"Close": func(p *ServerPool) { p.Iterator().Close() },
		"Stop":  (*ServerPool).Stop,
	}
	starts := map[string]func(p *ServerPool){
		"before Start": func(*ServerPool) {},
		"after Start":  (*ServerPool).Start,
	}
	for end, endIt := range ends {
		for start, startIt := range starts {
			t.Run(end+" "+start, func(t *testing.T) {
				inBubble(t, nil, func(t *testing.T, w *world) {
					startIt(w.pool)
					var readers sync.WaitGroup
					for range 3 {
						readers.Go(func() { require.False(t, w.pool.Iterator().Next()) })
					}
					synctest.Wait()
					before := time.Now()
					endIt(w.pool)
					readers.Wait()
					require.Zero(t, time.Since(before))
					endIt(w.pool)
					w.pool.Start() // too late or again
					require.False(t, w.pool.Iterator().Next())
					require.Nil(t, w.pool.Iterator().Node())
				})
			})
		}
	}
}

// Whoever closes the iterator, with queries or without, closes the sources.
func TestCloseClosesTheSources(t *testing.T) {
	for name, edit := range map[string]func(*Config){"unasked": func(c *Config) { c.Query = nil }, "asked": nil} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, edit, func(t *testing.T, w *world) {
				before, late := newSource(), newSource()
				w.pool.AddSource(before)
				w.pool.Start()
				w.pool.Iterator().Close()
				synctest.Wait()
				require.True(t, before.isClosed())
				w.pool.AddSource(late)
				synctest.Wait()
				require.True(t, late.isClosed(), "a source that comes too late is closed")
				// The pool is open: servers that are connected are still served.
				w.connect(testutil.PublicNode(1))
			})
		})
	}
}

func TestMethodsWorkBeforeStartAndAfterStop(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		check := func() {
			require.Equal(t, 2*pseudoAnswerTime, w.pool.GetTimeout().Round(500*time.Millisecond))
			require.Same(t, n, w.pool.DialNode(n))
			require.Nil(t, w.pool.DialNode(nil))
			w.pool.Persist(n)
			w.pool.Persist(nil)
			require.Len(t, w.pool.API().RequestStats(), 1)
			require.Zero(t, w.pool.Status().Connected)
			w.pool.UnregisterNode(n)
			w.pool.UnregisterNode(nil)
		}
		check()
		_, err := w.pool.RegisterNode(n)
		require.ErrorIs(t, err, ErrNotStarted)
		w.pool.Start()
		w.pool.Start()
		check()
		w.pool.Stop()
		check()
		_, err = w.pool.RegisterNode(n)
		require.ErrorIs(t, err, ErrClosed)
		_, err = w.pool.RegisterNode(nil)
		require.ErrorIs(t, err, ErrNoNode)
	})
}

func TestStopBeforeStart(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		src := newSource()
		w.pool.AddSource(src)
		w.pool.AddMetrics(nil, nil, nil, nil, nil, nil)
		w.pool.Stop()
		require.True(t, src.isClosed())
		w.pool.Start()
		w.pool.AddMetrics(nil, nil, nil, nil, nil, nil)
		require.False(t, w.pool.Iterator().Next())
		_, err := w.pool.RegisterNode(testutil.PublicNode(1))
		require.ErrorIs(t, err, ErrClosed)
	})
}

// A server that is connected when the pool stops may be unregistered later.
func TestUnregisterAfterStop(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.Start()
		tracker := w.connect(n)
		w.pool.Stop()
		serve(tracker, 1)
		w.pool.UnregisterNode(n)
		require.Nil(t, w.pool.sessionOf(n.ID()))
		require.Equal(t, 1, w.pool.Status().Connected, "the status stays that of the last moment")
	})
}

// stuckSource hangs in Next or in Close until it is released.
type stuckSource struct{ inNext, inClose chan struct{} }

func (s *stuckSource) Next() bool        { <-s.inNext; return false }
func (s *stuckSource) Node() *enode.Node { return nil }
func (s *stuckSource) Close()            { <-s.inClose }

func TestStopTakesLessThanASecondWhateverFunctionsDo(t *testing.T) {
	for name, prepare := range map[string]func(release chan struct{}, c *Config) enode.Iterator{
		"query never returns": func(release chan struct{}, c *Config) enode.Iterator {
			c.Query = func(context.Context, *enode.Node) Answer { <-release; return Yes }
			return newCycle(publicNodes(0, 50)...)
		},
		"Accept never returns": func(release chan struct{}, c *Config) enode.Iterator {
			c.Accept = func(*enode.Node) error { <-release; return nil }
			return newCycle(testutil.PublicNode(1))
		},
		"Next of a source never returns": func(release chan struct{}, c *Config) enode.Iterator {
			return &stuckSource{release, make(chan struct{})}
		},
		"Close of a source never returns": func(release chan struct{}, c *Config) enode.Iterator {
			closed := make(chan struct{})
			close(closed)
			return &stuckSource{closed, release}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, release := newWorld(t), make(chan struct{})
				var src enode.Iterator
				w.open(func(c *Config) { src = prepare(release, c) })
				w.pool.AddSource(src)
				w.pool.Start()
				require.Nil(t, w.next(6*time.Second))
				before := time.Now()
				w.pool.Stop()
				require.Less(t, time.Since(before), time.Second)
				require.Equal(t, 1, w.log.count("A function of the application has not returned; its goroutine is left behind"))
				touched := touches(w.store)
				close(release) // whoever hangs goes on, and ends
				if s, ok := src.(*stuckSource); ok && s.inClose != release {
					close(s.inClose)
				}
				synctest.Wait()
				time.Sleep(time.Hour)
				require.Equal(t, touched, touches(w.store), "the store was touched after Stop")
			})
		})
	}
}

// touches counts what was done to a store.
func touches(s *testutil.FaultyStore) (k int) {
	for _, op := range []string{"get", "has", "put", "delete", "batch", "iterate"} {
		k += s.Count(op)
	}
	return k
}

func TestStopFromTheCallersFunctions(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		done := make(chan struct{})
		w.set(func(context.Context) Answer { w.pool.Stop(); close(done); return Yes }, n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		before := time.Now()
		require.Nil(t, w.next(2*time.Second))
		<-done
		require.Less(t, time.Since(before), 2*time.Second+time.Millisecond)
	})
}

func TestConcurrentStopsWaitForTheFirst(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		w.pool.AddSource(newCycle(publicNodes(0, 10)...))
		w.pool.Start()
		w.connect(testutil.PublicNode(100))
		var stops sync.WaitGroup
		for range 5 {
			stops.Go(func() {
				w.pool.Stop()
				require.NotEmpty(t, keysOf(t, w.store.Database, "vt:"), "all is saved when Stop returns")
			})
		}
		stops.Wait()
	})
}

func TestNoGoroutineIsLeft(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	open := func() *ServerPool {
		p, err := New(Config{Requests: testRequests, Query: func(context.Context, *enode.Node) Answer { return Yes }})
		require.NoError(t, err)
		p.AddSource(newCycle(publicNodes(0, 10)...))
		return p
	}
	open().Stop() // never started

	p := open()
	p.Start()
	require.True(t, p.Iterator().Next())
	_, err := p.RegisterNode(p.Iterator().Node())
	require.NoError(t, err)
	p.Stop()

	p = open()
	p.Start()
	p.Iterator().Close()
	p.Stop()
}

func TestAPoolWithADirectoryOfItsOwn(t *testing.T) {
	cfg := Config{Requests: testRequests, Path: t.TempDir()}
	for round := range 2 {
		p, err := New(cfg)
		require.NoError(t, err)
		_, err = New(cfg)
		require.ErrorContains(t, err, "Config.Path", "in use")
		p.Start()
		require.Equal(t, round, p.Status().Known)
		n := testutil.PublicNode(1)
		tracker, err := p.RegisterNode(n)
		require.NoError(t, err)
		serve(tracker, 10)
		p.UnregisterNode(n)
		p.Stop()
	}
}

func TestConfigIsValidated(t *testing.T) {
	good := Config{Requests: testRequests}
	for want, edit := range map[string]func(*Config){
		"Config.Path and Config.Store": func(c *Config) { c.Path, c.Store = "x", testutil.NewFaultyStore() },
		"Config.Requests is empty":     func(c *Config) { c.Requests = nil },
		"Requests[0].InitAmount":       func(c *Config) { c.Requests = []RequestInfo{{Name: "a", InitAmount: -1, InitValue: 1}} },
		"Config.Wanted is -1":          func(c *Config) { c.Wanted = -1 },
		"Config.QueryRate is +Inf":     func(c *Config) { c.QueryRate = math.Inf(1) },
		"Config.QueryRate is NaN":      func(c *Config) { c.QueryRate = math.NaN() },
		"Config.QueryBurst is -1":      func(c *Config) { c.QueryBurst = -1 },
		"Config.MinRedial is -1ns":     func(c *Config) { c.MinRedial = -1 },
		"Config.Remember is -1":        func(c *Config) { c.Remember = -1 },
	} {
		cfg := good
		edit(&cfg)
		p, err := New(cfg)
		require.ErrorContains(t, err, want)
		require.Nil(t, p)
	}
	store := testutil.NewFaultyStore()
	store.FailIf(func(string) bool { return true })
	_, err := New(Config{Requests: testRequests, Store: store})
	require.ErrorIs(t, err, testutil.ErrInjected)
}
