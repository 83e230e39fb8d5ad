package serverpool

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// Sources of candidates, good and bad ones, and how they share the dials.

func TestSlowSourceDelaysNoOther(t *testing.T) {
	n, trusted := testutil.PublicNode(1), testutil.PublicNode(2)
	edit := func(c *Config) { c.Trusted = []string{trusted.String()} }
	for name, query := range map[string]bool{"asked": true, "unasked": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(c *Config) {
				edit(c)
				if !query {
					c.Query = nil
				}
			}, func(t *testing.T, w *world) {
				known := testutil.PublicNode(3)
				w.set(always(Yes), n, known)
				fast := newSource()
				w.pool.AddSource(newSource()) // never brings anything
				w.pool.AddSource(fast)
				w.pool.AddSource(newSource())
				w.pool.Start()
				require.Equal(t, trusted.ID(), w.mustNext(20*time.Millisecond).ID())
				require.Nil(t, w.next(time.Second))
				fast.feed(n)
				require.Equal(t, n.ID(), w.mustNext(20*time.Millisecond).ID())
				w.befriend(100, known)
				require.Nil(t, w.next(10*time.Second))
				require.Equal(t, known.ID(), w.mustNext(1020*time.Millisecond).ID(), "as soon as its wait is over")
			})
		})
	}
}

func TestSourcesTakeTurns(t *testing.T) {
	inBubble(t, func(c *Config) { c.Query = nil }, func(t *testing.T, w *world) {
		lists := [][]*enode.Node{publicNodes(0, 30), publicNodes(100, 30), publicNodes(200, 30)}
		for _, list := range lists {
			w.pool.AddSource(newSource(list...))
		}
		w.pool.Start()
		var given [3]int
		for range 30 {
			n := w.mustNext(time.Second)
			for i, list := range lists {
				if containsNode(list, n) {
					given[i]++
				}
			}
			time.Sleep(time.Millisecond) // the sources read on
		}
		for _, k := range given {
			require.InDelta(t, 10, k, 1)
		}
	})
}

// One dial of four explores, and the known servers get the rest. A source that
// keeps bringing known ones lowers the share no further than to what the others
// are of every second candidate.
func TestAShareOfTheDialsExplores(t *testing.T) {
	for _, c := range []struct {
		name          string
		repeat, least int
	}{{"all new", 0, 45}, {"half are known", 1, 45}, {"most are known", 5, 25}} {
		t.Run(c.name, func(t *testing.T) {
			edit := func(c *Config) { c.Query, c.QueryRate = nil, -1 }
			inBubble(t, edit, func(t *testing.T, w *world) {
				known, others := publicNodes(0, 200), publicNodes(1000, 200)
				w.pool.Start()
				w.befriend(100, known...)
				time.Sleep(12 * time.Second)
				src, rnd := newSource(), rand.New(rand.NewPCG(1, 1))
				for _, n := range others {
					src.feed(n)
					for range c.repeat {
						src.feed(known[rnd.IntN(len(known))])
					}
				}
				w.pool.AddSource(src)
				explorers := 0
				for range 200 {
					if containsNode(others, w.mustNext(time.Second)) {
						explorers++
					}
					time.Sleep(100 * time.Millisecond) // the source reads on
				}
				require.GreaterOrEqual(t, explorers, c.least)
				require.LessOrEqual(t, explorers, 55)
			})
		})
	}
}

// It is dials that count, not candidates: where two of three explorers are full, more
// of the candidates explore.
func TestExplorersShareCountsDials(t *testing.T) {
	known, others := testutil.PublicNode(1), testutil.PublicNode(2)
	m := newMix(nobody{}, endless{known}, picked{nobody{}})
	m.add(picked{endless{others}})
	m.start()
	candidates, dials, explorers := 0, 0, 0
	for dials < 400 {
		f, ok := m.take()
		require.True(t, ok)
		explores := f.node == others
		if explores {
			if candidates++; candidates%3 != 0 {
				continue // it is full
			}
			explorers++
		}
		dials++
		m.gave(!explores)
	}
	require.InDelta(t, dials/exploreEvery, explorers, 2)
}

// endless is a set that has a node whenever one is taken.
type endless struct{ node *enode.Node }

func (e endless) pick() *enode.Node { return e.node }
func (endless) len() int            { return 1 }
func (endless) Close()              {}

// A source that has only nodes which cannot be used is read at most 100 times
// in any second, whatever it is that makes them unusable.
func TestUselessSourceIsReadSlowly(t *testing.T) {
	busy := testutil.PublicNode(1)
	bad := errors.New("wrong chain")
	for name, c := range map[string]struct {
		node   *enode.Node
		accept func(*enode.Node) error
	}{
		"the same node for ever": {node: busy},
		"nil for ever":           {},
		"no TCP port":            {node: enode.NewV4(&testutil.Key(2).PublicKey, testutil.PublicNode(2).IP(), 0, 1)},
		"not accepted":           {node: testutil.PublicNode(2), accept: func(*enode.Node) error { return bad }},
		"Accept panics":          {node: testutil.PublicNode(2), accept: func(*enode.Node) error { panic("bad") }},
	} {
		for mode, edit := range map[string]func(*Config){"asked": func(*Config) {}, "unasked": func(c *Config) { c.Query = nil }} {
			t.Run(name+", "+mode, func(t *testing.T) {
				inBubble(t, func(cfg *Config) { edit(cfg); cfg.Accept = c.accept }, func(t *testing.T, w *world) {
					src := newCycle(c.node)
					w.pool.AddSource(src)
					w.pool.Start()
					w.connect(busy)
					require.Nil(t, w.next(0))
					most, first := int64(0), src.reads.Load()
					var window [10]int64 // reads in the last tenths of a second
					for i := range 100 {
						before := src.reads.Load()
						require.Nil(t, w.next(100*time.Millisecond))
						window[i%10] = src.reads.Load() - before
						sum := int64(0)
						for _, k := range window {
							sum += k
						}
						most = max(most, sum)
					}
					require.LessOrEqual(t, most, int64(100))
					require.Greater(t, src.reads.Load()-first, int64(400), "it goes on")
					if c.accept == nil {
						return
					}
					require.Len(t, w.pool.Status().NotAccepted, 1)
					require.Greater(t, w.pool.Status().NotAccepted[w.reason()], 400)
				})
			})
		}
	}
}

// reason returns the one reason for which nodes were turned away.
func (w *world) reason() string {
	for reason := range w.pool.Status().NotAccepted {
		return reason
	}
	return ""
}

// panicking is a source that panics after some nodes.
type panicking struct{ *source }

func (p *panicking) Next() bool {
	if len(p.nodes) == 0 {
		panic("broken source")
	}
	return p.source.Next()
}

func (p *panicking) Close() { panic("cannot close") }

// ending is a source that ends.
type ending struct{ *source }

func (e *ending) Next() bool { return len(e.nodes) > 0 && e.source.Next() }

func TestSourceThatEndsOrPanicsLeavesTheOthers(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		nodes := publicNodes(1, 6)
		w.set(always(Yes), nodes...)
		good := newSource(nodes[4], nodes[5])
		w.pool.AddSource(&panicking{newSource(nodes[:2]...)})
		w.pool.AddSource(&ending{newSource(nodes[2:4]...)})
		w.pool.AddSource(good)
		w.pool.AddSource(nil)
		w.pool.AddSource((*source)(nil))
		w.pool.Start()
		for range nodes {
			w.mustNext(time.Second)
		}
		require.Equal(t, 1, w.log.count("A source of nodes panicked and is not read any more"))
		good.feed(testutil.PublicNode(7))
		w.set(always(Yes), testutil.PublicNode(7))
		w.mustNext(time.Second)
		w.pool.Stop()
		synctest.Wait()
		require.Equal(t, 1, w.log.count("A source of nodes panicked when it was closed"))
	})
}

// The source of known servers goes on while servers come and go.
func TestKnownSourceNeverEnds(t *testing.T) {
	inBubble(t, func(c *Config) { c.MinRedial = time.Millisecond; c.Seed = 7 }, func(t *testing.T, w *world) {
		nodes := publicNodes(0, 20)
		w.set(always(Yes), nodes...)
		w.pool.Start()
		w.befriend(2, nodes...)
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			n := nodes[rnd.IntN(len(nodes))]
			w.befriend(uint32(rnd.IntN(2)), n) // drops below the threshold, and rises
			if got := w.next(3 * time.Second); got != nil {
				w.befriend(1, got)
			}
		}
		w.befriend(1000, nodes[0])
		for range 40 {
			if got := w.mustNext(12 * time.Second); got.ID() == nodes[0].ID() {
				return
			}
		}
		t.Fatal("the best known server does not come")
	})
}

func TestKnownServersAreChosenByWeight(t *testing.T) {
	inBubble(t, func(c *Config) { c.Query = nil; c.MinRedial = time.Millisecond }, func(t *testing.T, w *world) {
		light, heavy := testutil.PublicNode(1), testutil.PublicNode(2)
		w.pool.Start()
		first := map[enode.ID]int{}
		for range 300 {
			for _, n := range []*enode.Node{light, heavy} {
				require.NoError(t, w.pool.ns.SetState(n, w.pool.st.hasValue, w.pool.st.inDialProcess, 0))
			}
			require.NoError(t, w.pool.st.weight.Set(w.pool.ns, light, 1000))
			require.NoError(t, w.pool.st.weight.Set(w.pool.ns, heavy, 4000))
			first[w.mustNext(time.Second).ID()]++
			for _, n := range []*enode.Node{light, heavy} {
				require.NoError(t, w.pool.ns.SetState(n, w.pool.st.redialWait, w.pool.st.underWay, 0))
			}
		}
		require.InDelta(t, 240, first[heavy.ID()], 35)
		require.InDelta(t, 60, first[light.ID()], 35)
	})
}

// Whoever is known is chosen by its weight, however often discovery names it.
func TestRepeatedDiscoveryMovesNoKnownServerForward(t *testing.T) {
	inBubble(t, func(c *Config) { c.Query = nil; c.MinRedial = time.Millisecond }, func(t *testing.T, w *world) {
		light, heavy := testutil.PublicNode(1), testutil.PublicNode(2)
		w.pool.Start()
		w.befriend(10, light)
		w.befriend(1e6, heavy)
		w.pool.AddSource(newCycle(light))
		lights := 0
		for range 40 {
			time.Sleep(12 * time.Second)
			n := w.mustNext(time.Second)
			if n.ID() == light.ID() {
				lights++
				w.befriend(10, n)
			} else {
				w.befriend(1e6, n)
			}
		}
		require.Less(t, lights, 4)
	})
}

// Accept is asked for candidates of every kind, each time.
func TestAcceptGuardsEverySource(t *testing.T) {
	known, trusted, found := testutil.PublicNode(1), testutil.PublicNode(2), testutil.PublicNode(3)
	var healed atomic.Bool
	edit := func(c *Config) {
		c.Trusted = []string{trusted.String()}
		c.Accept = func(*enode.Node) error {
			if !healed.Load() {
				return errors.New("other fork")
			}
			return nil
		}
	}
	inBubble(t, edit, func(t *testing.T, w *world) {
		w.set(always(Yes), known, found)
		src := newSource(found)
		w.pool.AddSource(src)
		w.pool.Start()
		w.befriend(100, known)
		require.Nil(t, w.next(time.Minute))
		require.Zero(t, w.totalAsked(), "they are not even asked")
		require.Less(t, w.pool.Status().NotAccepted["other fork"], 30, "every 10 s, not all the time")
		healed.Store(true)
		src.feed(found)
		got := map[enode.ID]bool{}
		for range 3 {
			got[w.mustNext(11*time.Second).ID()] = true
		}
		require.Len(t, got, 3)
	})
}

// typedNil is an error that cannot even say what it is.
type typedNil struct{ text string }

func (e *typedNil) Error() string { return e.text }

func TestAcceptThatReturnsABrokenError(t *testing.T) {
	edit := func(c *Config) { c.Accept = func(*enode.Node) error { return (*typedNil)(nil) } }
	inBubble(t, edit, func(t *testing.T, w *world) {
		w.pool.AddSource(newCycle(testutil.PublicNode(1)))
		w.pool.Start()
		require.Nil(t, w.next(time.Second))
		require.NotZero(t, w.pool.Status().NotAccepted[errPanicked.Error()])
	})
}

func TestReasonsAreBounded(t *testing.T) {
	c := newCounts()
	for i := range 3 * maxReasons {
		c.turnAway(notAccepted(string(rune('A' + i))))
	}
	require.Len(t, c.turnedAway, maxReasons+1)
	require.Equal(t, 2*maxReasons, c.turnedAway[otherReason])
}
