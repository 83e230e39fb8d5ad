package serverpool

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// What the application decides about nodes.

// giveRepeatedly feeds a node to the pool for some time and returns when it was
// given out.
func giveRepeatedly(w *world, src *source, n *enode.Node, d time.Duration) (times []time.Duration) {
	begin := time.Now()
	for time.Since(begin) < d {
		src.feed(n)
		if got := w.next(10 * time.Second); got != nil && got.ID() == n.ID() {
			times = append(times, time.Since(begin))
		}
	}
	return times
}

func TestBannedNodePassesNoSource(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		known, found, other := testutil.PublicNode(1), testutil.PublicNode(2), testutil.PublicNode(3)
		src := newSource()
		w.set(always(Yes), known, found, other)
		w.pool.AddSource(src)
		w.pool.Start()
		w.befriend(100, known)
		require.NoError(t, w.pool.Ban(known, time.Hour, "spam"))
		require.NoError(t, w.pool.Ban(found, time.Hour, "spam"))
		start, asked := time.Now(), w.totalAsked()
		require.Empty(t, giveRepeatedly(w, src, found, time.Hour-15*time.Second))
		require.Equal(t, asked, w.totalAsked(), "nobody is asked")
		src.feed(other)
		require.Equal(t, other.ID(), w.mustNext(time.Second).ID(), "others are not concerned")
		w.connect(other)
		require.Equal(t, "[hasValue, redialWait]", w.state(known))
		require.Equal(t, known.ID(), w.mustNext(20*time.Second).ID(), "the ban is over")
		require.GreaterOrEqual(t, time.Since(start), time.Hour)
		src.feed(found)
		require.Equal(t, found.ID(), w.mustNext(time.Second).ID())
		require.Empty(t, w.pool.Bans())
		require.Positive(t, w.pool.Status().NotAccepted["banned"])
	})
}

// A ban ends whatever is under way with a node.
func TestBanEndsWhatIsUnderWay(t *testing.T) {
	for name, bring := range map[string]func(w *world, n *enode.Node){
		"query": func(w *world, n *enode.Node) {
			w.set(mute, n)
			require.Nil(w.t, w.next(time.Second))
		},
		"canDial": func(w *world, n *enode.Node) {
			w.set(func(ctx context.Context) Answer { time.Sleep(time.Second); return Yes }, n)
			require.Nil(w.t, w.next(500*time.Millisecond))
			other := testutil.PublicNode(9) // trusted: takes the waiting Next
			require.NoError(w.t, w.pool.SetTrusted(other, true))
			require.Equal(w.t, other.ID(), w.mustNext(time.Millisecond).ID())
			time.Sleep(time.Second)
		},
		"dialed": func(w *world, n *enode.Node) {
			w.set(always(Yes), n)
			w.mustNext(time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				n := testutil.PublicNode(1)
				src := newSource(n)
				w.pool.AddSource(src)
				w.pool.Start()
				bring(w, n)
				require.Contains(t, w.state(n), name)
				require.NoError(t, w.pool.Ban(n, time.Hour, ""))
				require.Equal(t, "[redialWait]", w.state(n))
				w.set(always(Yes), n)
				require.Empty(t, giveRepeatedly(w, src, n, 50*time.Minute))
				require.NotEmpty(t, giveRepeatedly(w, src, n, 20*time.Minute), "and then it is over")
			})
		})
	}
}

// A connected server is asked to be dropped, again as long as it stays, and
// goes on as long as nobody does so.
func TestBannedServerIsAskedToLeave(t *testing.T) {
	n := testutil.PublicNode(1)
	var pool *ServerPool
	var reasons []string
	var stay atomic.Bool
	stay.Store(true)
	edit := func(c *Config) {
		c.Disconnect = func(m *enode.Node, reason error) {
			require.Equal(t, n.ID(), m.ID())
			require.ErrorIs(t, reason, errBanned)
			reasons = append(reasons, reason.Error())
			if !stay.Load() {
				pool.UnregisterNode(m) // from inside
			}
		}
	}
	inBubble(t, edit, func(t *testing.T, w *world) {
		pool = w.pool
		w.pool.Start()
		w.connect(n)
		require.NoError(t, w.pool.Ban(n, time.Hour, "wrong answers"))
		synctest.Wait()
		require.Equal(t, []string{"banned: wrong answers"}, reasons)
		require.Equal(t, "[connected]", w.state(n))
		stay.Store(false)
		time.Sleep(updatePeriod + time.Millisecond)
		require.Equal(t, "[redialWait]", w.state(n))
		w.connect(n) // it comes back by itself
		synctest.Wait()
		require.Equal(t, "[redialWait]", w.state(n))
		require.Len(t, reasons, 3)
	})
}

func TestBannedServerStaysWhereNobodyDropsIt(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.Start()
		w.connect(n)
		require.NoError(t, w.pool.Ban(n, time.Hour, ""))
		time.Sleep(10 * time.Minute)
		require.Equal(t, "[connected]", w.state(n))
		w.pool.UnregisterNode(n)
		require.Equal(t, "[redialWait]", w.state(n))
	})
}

// p2p may dial a node that it took before the ban; then the dialer refuses.
func TestBannedNodeIsNotDialedLate(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n, stranger := testutil.PublicNode(1), testutil.PublicNode(2)
		dials := 0
		d := w.pool.Dialer(dialFunc(func(context.Context, *enode.Node) (net.Conn, error) {
			dials++
			return nil, errors.New("no")
		}))
		w.set(always(Yes), n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		w.mustNext(time.Second)
		require.NoError(t, w.pool.Ban(n, time.Hour, "spam"))
		_, err := d.Dial(context.Background(), n)
		require.EqualError(t, err, "banned: spam")
		require.Zero(t, dials)
		require.NoError(t, w.pool.Ban(stranger, time.Hour, "spam"))
		_, err = d.Dial(context.Background(), stranger)
		require.EqualError(t, err, "no", "what the pool did not give out is not its business")
	})
}

func TestUnbanLetsTheNodeGo(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n, src := testutil.PublicNode(1), newSource()
		w.set(always(Yes), n)
		w.pool.AddSource(src)
		w.pool.Start()
		w.befriend(100, n)
		require.NoError(t, w.pool.Ban(n, 24*time.Hour, ""))
		require.Nil(t, w.next(time.Hour))
		require.True(t, w.pool.Unban(n.ID()))
		require.Equal(t, n.ID(), w.mustNext(time.Second).ID())
		require.False(t, w.pool.Unban(n.ID()))
		require.False(t, w.pool.Unban(enode.ID{}))
		require.NoError(t, w.pool.Ban(n, time.Hour, ""))
		require.Equal(t, 1., w.pool.Bans()[0].Strength, "as if the first one had never been")
	})
}

func TestBansAreListed(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		a, b := testutil.PublicNode(1), testutil.PublicNode(2)
		require.NoError(t, w.pool.Ban(a, 2*time.Hour, "a"))
		time.Sleep(time.Minute)
		require.NoError(t, w.pool.Ban(b, time.Hour, "b"))
		want := []BanInfo{
			{b.ID(), "b", time.Unix(newYear+60, 0).UTC(), Duration(time.Hour), 1},
			{a.ID(), "a", time.Unix(newYear, 0).UTC(), Duration(119 * time.Minute), 1},
		}
		require.Equal(t, want, w.pool.Bans())
		require.Equal(t, 2, w.pool.Status().Banned)
		w.pool.Stop()
		require.Equal(t, want, w.pool.Bans())
	})
}

func TestBanOfATrustedServerIsAnError(t *testing.T) {
	n := testutil.PublicNode(1)
	edit := func(c *Config) { c.Trusted = []string{n.String()} }
	inBubble(t, edit, func(t *testing.T, w *world) {
		require.ErrorIs(t, w.pool.Ban(n, time.Hour, ""), ErrTrusted)
		require.Empty(t, w.pool.Bans())
		w.pool.Start()
		require.ErrorIs(t, w.pool.Ban(n, time.Hour, ""), ErrTrusted)
		require.Equal(t, n.ID(), w.mustNext(time.Second).ID())
	})
}

// Trust wins over a ban, which holds again when the trust ends.
func TestTrustWinsOverABan(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			n, asked := testutil.PublicNode(1), 0
			edit := func(c *Config) { c.Disconnect = func(*enode.Node, error) { asked++ } }
			inBubble(t, edit, func(t *testing.T, w *world) {
				w.pool.Start()
				require.NoError(t, w.pool.Ban(n, time.Hour, "spam"))
				require.NoError(t, w.pool.SetTrusted(n, true))
				require.Equal(t, n.ID(), w.mustNext(time.Second).ID())
				w.connect(n)
				time.Sleep(2 * updatePeriod)
				synctest.Wait()
				require.Zero(t, asked)
				require.NoError(t, w.pool.SetTrusted(n, false))
				synctest.Wait()
				require.Equal(t, 1, asked)
				e.end(w, func(c *Config) { c.Trusted = []string{n.String()} })
				w.pool.Start()
				require.Len(t, w.pool.Bans(), 1)
				require.Equal(t, n.ID(), w.mustNext(time.Minute).ID(), "trusted in this run")
			})
		})
	}
}

func TestBansAreKept(t *testing.T) {
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				n, forgiven := testutil.PublicNode(1), testutil.PublicNode(2)
				w.set(always(Yes), n, forgiven)
				w.pool.Start()
				w.befriend(100, n)
				require.NoError(t, w.pool.Ban(n, 2*time.Hour, "spam"))
				require.NoError(t, w.pool.Ban(forgiven, 2*time.Hour, "spam"))
				time.Sleep(max(e.values, persistInterval) + time.Millisecond)
				require.True(t, w.pool.Unban(forgiven.ID()))
				time.Sleep(persistInterval)
				begin, bans := time.Now(), w.pool.Bans()
				time.Sleep(5 * time.Minute)
				e.end(w, nil)
				src := newSource()
				w.pool.AddSource(src)
				w.pool.Start()
				require.Len(t, w.pool.Bans(), 1)
				require.Equal(t, bans[0].Reason, w.pool.Bans()[0].Reason)
				require.InDelta(t, float64(bans[0].Left)-float64(5*time.Minute), float64(w.pool.Bans()[0].Left), 2e9)
				src.feed(n, forgiven)
				require.Equal(t, forgiven.ID(), w.mustNext(time.Second).ID())
				got := w.mustNext(3 * time.Hour)
				require.Equal(t, n.ID(), got.ID())
				require.InDelta(t, float64(bans[0].Left), float64(time.Since(begin)), 30e9)
			})
		})
	}
}

// A pool that never runs keeps what it is told, too.
func TestAdminBeforeStart(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		spammer, friend, old := testutil.PublicNode(1), testutil.PublicNode(2), testutil.PublicNode(3)
		w.pool.Start()
		w.befriend(100, old)
		restart(w, nil)
		require.NoError(t, w.pool.Ban(spammer, time.Hour, "spam"))
		require.NoError(t, w.pool.SetTrusted(friend, true))
		require.NoError(t, w.pool.Forget(old.ID()))
		restart(w, nil)
		require.Len(t, w.pool.Bans(), 1)
		w.pool.Start()
		require.Zero(t, w.pool.Status().Restored)
		require.Nil(t, w.next(time.Minute), "trust is not stored")
		w.pool.Stop()
		require.Empty(t, keysOf(t, w.store.Database, "key/ns:"))
		require.Empty(t, keysOf(t, w.store.Database, "vtNode:"))
	})
}

func TestAdminAfterStop(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.Start()
		w.befriend(100, n)
		w.pool.Stop()
		writes := w.store.Count("batch") + w.store.Count("put") + w.store.Count("delete")
		require.ErrorIs(t, w.pool.Ban(n, time.Hour, ""), ErrClosed)
		require.ErrorIs(t, w.pool.SetTrusted(n, true), ErrClosed)
		require.ErrorIs(t, w.pool.Forget(n.ID()), ErrClosed)
		require.False(t, w.pool.Unban(n.ID()))
		_, ok := w.pool.NodeStatus(n.ID())
		require.False(t, ok)
		require.Equal(t, writes, w.store.Count("batch")+w.store.Count("put")+w.store.Count("delete"))
	})
}

func TestAdminOfNothing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		require.ErrorIs(t, w.pool.Ban(nil, time.Hour, ""), ErrNoNode)
		require.ErrorIs(t, w.pool.Ban(n, 0, ""), ErrBanTime)
		require.ErrorIs(t, w.pool.Ban(n, -1, ""), ErrBanTime)
		require.ErrorIs(t, w.pool.SetTrusted(nil, true), ErrNoNode)
		require.ErrorContains(t, w.pool.SetTrusted(testutil.FakeNode(1, 1), true), "no TCP endpoint")
		require.NoError(t, w.pool.SetTrusted(testutil.FakeNode(1, 1), false))
		w.pool.Start()
		require.NoError(t, w.pool.Forget(enode.ID{}))
		require.NoError(t, w.pool.Ban(testutil.FakeNode(1, 1), time.Hour, "no address is needed"))
	})
}

func TestDamagedBanEntriesAreClearedAway(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		require.NoError(t, w.pool.Ban(testutil.PublicNode(1), time.Hour, ""))
		w.pool.Stop()
		put := func(i uint64, value []byte) {
			id := testutil.PublicNode(i).ID()
			require.NoError(t, w.store.Put(append([]byte("key/x:b:"), id[:]...), value))
		}
		put(2, nil)
		put(3, []byte("rubbish"))
		put(4, encode(t, &storedBan{Version: 9}))
		w.open(nil)
		require.Equal(t, 1, w.log.count("Some of what is known of nodes could not be read"))
		require.Len(t, w.pool.Bans(), 1)
		w.pool.Start()
		time.Sleep(persistInterval + time.Millisecond)
		require.Len(t, keysOf(t, w.store.Database, "key/x:b:"), 1)
	})
}
