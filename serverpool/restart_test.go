package serverpool

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// What survives a restart, and what survives a crash.

// restart and crash end a pool in two ways and open another one.
func restart(w *world, edit func(*Config)) {
	w.pool.Stop()
	w.open(edit)
}

func crash(w *world, edit func(*Config)) {
	w.crash()
	w.open(edit)
}

var endings = []struct {
	name string
	// wait is how long before the end something has to have happened to survive.
	flags, values time.Duration
	end           func(w *world, edit func(*Config))
}{
	{"restart", 0, 0, restart},
	{"crash", persistInterval, updatePeriod + time.Millisecond, crash},
}

func TestKnownServersComeFirst(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				known, others := publicNodes(0, 3), publicNodes(100, 50)
				w.set(always(Yes), append(known, others...)...)
				w.pool.Start()
				w.befriend(100, known...)
				time.Sleep(max(e.flags, e.values))
				e.end(w, nil)
				w.pool.AddSource(newSource(others...))
				w.pool.Start()
				require.Equal(t, 3, w.pool.Status().Restored)
				for range 3 {
					require.True(t, containsNode(known, w.mustNext(time.Second)))
				}
				require.False(t, containsNode(known, w.mustNext(time.Second)))
			})
		})
	}
}

// A server that had just served well is not waited for: its wait was minimal.
func TestMinimumWaitIsNotResumed(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.set(always(Yes), n)
		w.pool.Start()
		w.befriend(100, n)
		require.Equal(t, 10*time.Second, w.wait(n))
		require.Equal(t, "[hasValue, redialWait]", w.state(n))
		restart(w, nil)
		w.pool.Start()
		require.Equal(t, n.ID(), w.mustNext(10*time.Millisecond).ID())
	})
}

// failUntil has dials of a server fail until its wait is at least d.
func failUntil(w *world, src *source, n *enode.Node, d time.Duration) {
	for w.wait(n) < d {
		if src != nil {
			src.feed(n)
		}
		got := w.mustNext(2 * time.Hour)
		require.Equal(w.t, n.ID(), got.ID())
		time.Sleep(blindTimeout + time.Millisecond)
		require.Contains(w.t, w.state(n), "redialWait")
		if w.wait(n) < d {
			time.Sleep(w.wait(n)*11/10 + 40*time.Second)
		}
	}
}

func TestWaitOfAKnownServerIsResumed(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				n := testutil.PublicNode(1)
				w.set(always(Yes), n)
				w.pool.Start()
				w.befriend(1000, n)
				failUntil(w, nil, n, 200*time.Second)
				wait := w.wait(n)
				time.Sleep(60 * time.Second)
				e.end(w, nil)
				w.pool.Start()
				require.Equal(t, "[hasValue, redialWait]", w.state(n))
				require.Nil(t, w.next(wait-62*time.Second))
				require.Equal(t, n.ID(), w.mustNext(5*time.Second).ID())
			})
		})
	}
}

func TestWaitOfAValuelessServerIsResumedAndGrowsOn(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				n, src := testutil.PublicNode(1), newSource()
				w.set(always(Yes), n)
				w.pool.AddSource(src)
				w.pool.Start()
				failUntil(w, src, n, 200*time.Second)
				wait := w.wait(n)
				time.Sleep(60 * time.Second)
				e.end(w, nil)
				src = newSource()
				w.pool.AddSource(src)
				w.pool.Start()
				src.feed(n)
				require.Nil(t, w.next(wait-62*time.Second), "the wait goes on")
				time.Sleep(3 * time.Second)
				src.feed(n)
				require.Equal(t, n.ID(), w.mustNext(time.Second).ID())
				time.Sleep(blindTimeout + time.Second)
				require.InEpsilon(t, 1.5*wait.Seconds(), w.wait(n).Seconds(), 0.01, "and was not forgotten")
			})
		})
	}
}

func TestWaitOfATrustedServerIsResumed(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			n := testutil.PublicNode(1)
			edit := func(c *Config) { c.Trusted = []string{n.String()} }
			inBubble(t, edit, func(t *testing.T, w *world) {
				w.pool.Start()
				failUntil(w, nil, n, 200*time.Second)
				wait := w.wait(n)
				time.Sleep(60 * time.Second)
				e.end(w, edit)
				w.pool.Start()
				require.Nil(t, w.next(wait-62*time.Second))
				require.Equal(t, n.ID(), w.mustNext(5*time.Second).ID())
			})
		})
	}
}

// The wall clock was a year ahead when the waits were stored, or it is set back
// while the pool runs. No wait gets longer by that.
func TestClockSetBackMakesNoWaitLonger(t *testing.T) {
	known, valueless, trusted := testutil.PublicNode(1), testutil.PublicNode(2), testutil.PublicNode(3)
	var skew atomic.Int64
	edit := func(c *Config) {
		c.WallClock = func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }
		c.Trusted = []string{trusted.String()}
	}
	for name, setBack := range map[string]func(w *world){
		"over a restart": func(w *world) { skew.Store(0); restart(w, edit); w.pool.Start() },
		"while running":  func(w *world) { skew.Store(0) },
	} {
		t.Run(name, func(t *testing.T) {
			skew.Store(int64(365 * 24 * time.Hour))
			inBubble(t, edit, func(t *testing.T, w *world) {
				src := newSource()
				w.set(always(Yes), known, valueless)
				w.pool.AddSource(src)
				w.pool.Start()
				w.connect(trusted) // out of the way
				w.befriend(1000, known)
				failUntil(w, nil, known, 100*time.Second)
				w.connect(known)
				failUntil(w, src, valueless, 100*time.Second)
				w.pool.UnregisterNode(known)
				w.pool.UnregisterNode(trusted)
				longest := max(w.wait(known), w.wait(valueless), w.wait(trusted))
				setBack(w)
				src = newSource()
				w.pool.AddSource(src)
				got := make(map[enode.ID]bool)
				for end := time.Now().Add(longest*11/10 + 41*time.Second); time.Now().Before(end); {
					src.feed(valueless)
					if n := w.next(10 * time.Second); n != nil {
						got[n.ID()] = true
					}
				}
				require.True(t, got[known.ID()], "the known server")
				require.True(t, got[valueless.ID()], "the one without value")
				require.True(t, got[trusted.ID()], "the trusted one")
			})
		})
	}
}

// What happened longer ago than the interval is on disk.
func TestEverythingIsOnDiskInTime(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		friend, full, local := testutil.PublicNode(1), testutil.PublicNode(2), testutil.Node(3, 1, "127.0.0.1")
		w.set(always(Yes), local)
		w.pool.AddSource(newSource(full, local))
		w.pool.Start()
		got := w.mustNext(time.Second)
		require.Equal(t, local.ID(), got.ID())
		tracker := w.connect(got)
		serve(tracker, 10)
		w.pool.UnregisterNode(got)
		serve(w.connect(friend), 100)
		time.Sleep(persistInterval + time.Millisecond)
		flags, memory := keysOf(t, w.store.Database, "key/ns:"), keysOf(t, w.store.Database, "key/x:h:")
		id := local.ID()
		require.Contains(t, flags, string(id[:]))
		id = full.ID()
		require.Equal(t, []string{string(id[:])}, memory)
		time.Sleep(updatePeriod)
		id = friend.ID()
		require.Contains(t, keysOf(t, w.store.Database, "key/ns:"), string(id[:]), "a weight of its own by now")
		crash(w, nil)
		w.pool.Start()
		require.Equal(t, "127.0.0.1", w.pool.DialNode(local).IP().String())
		require.InDelta(t, 100, w.pool.serviceOf(friend, history{}).total, 1)
		require.InDelta(t, 10, w.pool.serviceOf(local, history{}).total, 1)
	})
}

// Persist does not wait for the interval.
func TestPersistStoresAtOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.Node(1, 1, "10.0.0.1")
		w.pool.Start()
		w.befriend(10, n)
		time.Sleep(updatePeriod + time.Millisecond) // its value is saved
		newer := testutil.Node(1, 2, "10.0.0.2")
		w.pool.Persist(newer)
		crash(w, nil)
		w.pool.Start()
		require.Equal(t, "10.0.0.2", w.pool.ns.GetNode(n.ID()).IP().String())
		w.pool.Persist(testutil.PublicNode(9)) // unknown
	})
}

// A full disk loses nothing while the pool runs.
func TestFailingStoreIsTriedAgain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		w.store.FailIf(func(op string) bool { return op == "batch" || op == "put" })
		require.Nil(t, w.next(25*time.Second))
		require.Empty(t, keysOf(t, w.store.Database, "key/x:h:"))
		require.Equal(t, 2, w.log.count("What is known of nodes could not be saved, will try again"))
		w.store.FailIf(nil)
		time.Sleep(persistInterval)
		require.Len(t, keysOf(t, w.store.Database, "key/x:h:"), 1)
	})
}

func TestOnlyTheLatestValuelessNodesAreRemembered(t *testing.T) {
	edit := func(c *Config) { c.Remember = 10 }
	inBubble(t, edit, func(t *testing.T, w *world) {
		w.pool.AddSource(newSource(publicNodes(0, 30)...))
		w.pool.Start()
		require.Nil(t, w.next(time.Minute))
		require.Len(t, keysOf(t, w.store.Database, "key/x:h:"), 10)
		restart(w, edit)
		require.Equal(t, 10, guarded(w.pool, w.pool.mu.memory.len))
		restart(w, func(c *Config) { c.Remember = 4 })
		w.pool.Stop()
		require.Len(t, keysOf(t, w.store.Database, "key/x:h:"), 4, "those beyond the limit are deleted")
	})
}
