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
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// Servers that are replaced, and those that are not.

// user is an application that keeps some servers connected, uses all of them and
// drops those that the pool wants dropped.
type user struct {
	w        *world
	wanted   int
	speed    map[enode.ID]time.Duration // of answers; 100 ms if not given
	sessions map[enode.ID]*NodeValueTracker
	order    []*enode.Node // of the sessions
	wants    chan drop     // what the pool wants dropped
	drops    []drop
	least    int // number of sessions after the first time there were enough
	idle     bool
}

type drop struct {
	node   *enode.Node
	reason error
}

func newUser(wanted int) *user {
	return &user{
		wanted: wanted, speed: make(map[enode.ID]time.Duration), sessions: make(map[enode.ID]*NodeValueTracker),
		wants: make(chan drop, 100), least: wanted,
	}
}

func (u *user) config(c *Config) {
	c.Wanted = u.wanted
	c.Disconnect = func(n *enode.Node, reason error) { u.wants <- drop{n, reason} }
}

func (u *user) leave(n *enode.Node) {
	if u.sessions[n.ID()] == nil {
		return
	}
	delete(u.sessions, n.ID())
	for i := range u.order {
		if u.order[i].ID() == n.ID() {
			u.order = append(u.order[:i:i], u.order[i+1:]...)
			break
		}
	}
	u.w.pool.UnregisterNode(n)
}

// run lets time pass. src brings all nodes again and again.
func (u *user) run(d time.Duration) {
	enough := false
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		synctest.Wait()
		for len(u.wants) > 0 {
			d := <-u.wants
			u.drops = append(u.drops, d)
			u.leave(d.node)
		}
		if enough {
			u.least = min(u.least, len(u.sessions))
		}
		for len(u.sessions) < u.wanted {
			n := u.w.next(100 * time.Millisecond)
			if n == nil {
				break
			}
			u.sessions[n.ID()] = u.w.connect(n)
			u.order = append(u.order, n)
		}
		enough = enough || len(u.sessions) == u.wanted
		for _, n := range u.order {
			speed, ok := u.speed[n.ID()]
			if !ok {
				speed = 100 * time.Millisecond
			}
			for range 4 {
				if !u.idle {
					u.sessions[n.ID()].Served([]ServedRequest{{Amount: 1}}, speed)
				}
			}
		}
	}
}

// inMarket tells the story of a user of three servers, which sees bad ones first
// and good ones later. edit may change the pool's configuration.
func inMarket(t *testing.T, edit func(*Config), story func(t *testing.T, u *user, bad, good []*enode.Node, src *source)) {
	u := newUser(3)
	inBubble(t, func(c *Config) {
		u.config(c)
		if edit != nil {
			edit(c)
		}
	}, func(t *testing.T, w *world) {
		u.w = w
		bad, good := publicNodes(0, 3), publicNodes(100, 20)
		for _, n := range bad {
			u.speed[n.ID()] = 2 * time.Second
		}
		w.set(always(Yes), bad...)
		w.set(always(Yes), good...)
		src := newSource(bad...)
		w.pool.AddSource(src)
		w.pool.Start()
		story(t, u, bad, good, src)
	})
}

func TestBadServersAreReplaced(t *testing.T) {
	inMarket(t, nil, func(t *testing.T, u *user, bad, good []*enode.Node, src *source) {
		u.run(10 * time.Minute)
		require.Len(t, u.sessions, 3)
		require.Empty(t, u.drops, "there is nobody else")
		for range 4 {
			src.feed(good...)
			u.run(5 * time.Minute)
		}
		for _, n := range bad {
			require.NotContains(t, u.sessions, n.ID())
		}
		require.Len(t, u.sessions, 3)
		require.GreaterOrEqual(t, u.least, 2, "never below the wanted number by more than one")
		for _, d := range u.drops {
			require.ErrorIs(t, d.reason, ErrReplaced)
		}
		many := len(u.drops)
		require.Less(t, many, 60)
		u.run(12 * time.Hour)
		require.Less(t, len(u.drops), many+20, "equal servers are left alone")
		require.GreaterOrEqual(t, u.w.wait(bad[0]), dropWait, "and the replaced ones for a while")
	})
}

func TestTrustedServersAreNotReplaced(t *testing.T) {
	trusted := testutil.PublicNode(50)
	edit := func(c *Config) { c.Trusted = []string{trusted.String()} }
	inMarket(t, edit, func(t *testing.T, u *user, bad, good []*enode.Node, src *source) {
		u.speed[trusted.ID()] = 5 * time.Second
		src.feed(good...)
		u.run(time.Hour)
		require.Contains(t, u.sessions, trusted.ID())
		require.NotContains(t, u.sessions, bad[0].ID())
	})
}

// Without a callback, without requests, or without anybody to take its place a
// server stays.
func TestServersAreNotReplacedWithoutReason(t *testing.T) {
	off := func(c *Config) { c.Disconnect = nil }
	inMarket(t, off, func(t *testing.T, u *user, bad, good []*enode.Node, src *source) {
		u.run(time.Minute)
		src.feed(good...)
		u.run(time.Hour)
		require.Contains(t, u.sessions, bad[0].ID())
	})
	inMarket(t, nil, func(t *testing.T, u *user, bad, good []*enode.Node, src *source) {
		u.idle = true
		u.run(time.Minute)
		src.feed(good...)
		u.run(time.Hour)
		require.Contains(t, u.sessions, bad[0].ID())
	})
	inMarket(t, nil, func(t *testing.T, u *user, bad, good []*enode.Node, src *source) {
		u.run(time.Minute)
		u.w.set(always(No), good...)
		src.feed(good...)
		u.run(time.Hour)
		require.Contains(t, u.sessions, bad[0].ID())
		require.Equal(t, 3, u.least)
	})
}

// Where servers are dialed unasked none is at hand that has promised room. Then a bad
// one goes all the same, seldom, if there is anybody else to dial.
func TestServersAreReplacedRarelyWithoutQueries(t *testing.T) {
	noQuery := func(c *Config) { c.Query = nil }
	inMarket(t, noQuery, func(t *testing.T, u *user, bad, good []*enode.Node, src *source) {
		src.feed(good...)
		u.run(blindStart - time.Minute)
		require.Empty(t, u.drops, "it is too soon to tell whom to drop, and whom to dial")
		u.run(2 * time.Minute)
		require.Len(t, u.drops, 1)
		for range 10 {
			before := len(u.drops)
			src.feed(good...)
			u.run(time.Duration(float64(time.Second) / blindRate))
			require.LessOrEqual(t, len(u.drops), before+1)
		}
		times := make(map[enode.ID]int)
		for _, d := range u.drops {
			times[d.node.ID()]++
		}
		for _, n := range bad {
			require.Equal(t, 1, times[n.ID()], "they have gone, and did not come back")
		}
		require.Equal(t, 2, u.least, "never below the wanted number by more than one")
	})
	inMarket(t, noQuery, func(t *testing.T, u *user, bad, good []*enode.Node, src *source) {
		u.run(10 * time.Hour)
		require.Empty(t, u.drops, "there is nobody else")
	})
}

// What is tried in order to replace a server costs few queries.
func TestReplacingAsksSlowly(t *testing.T) {
	inMarket(t, func(c *Config) { c.QueryRate = -1 }, func(t *testing.T, u *user, bad, good []*enode.Node, src *source) {
		u.run(time.Minute)
		full := publicNodes(1000, 3000)
		u.w.pool.AddSource(newCycle(full...))
		u.run(2 * time.Hour)
		bound := searchBurst + 2*3600*searchRate
		require.LessOrEqual(t, u.w.totalAsked(), 3+int(bound)+minQueries)
		require.Greater(t, u.w.totalAsked(), searchBurst)
	})
}

func TestSetDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		u := newUser(3)
		u.w = w
		var bad, good []*enode.Node
		for i := range uint64(20) {
			takesQueries := enr.WithEntry("les", []uint{1})
			if i < 3 {
				bad = append(bad, testutil.PublicNode(i, takesQueries))
				u.speed[bad[i].ID()] = 2 * time.Second
			}
			good = append(good, testutil.PublicNode(100+i, takesQueries))
		}
		pool, _ := NewServerPool(w.store, []byte("key/"), 0, func(*enode.Node) int { return 1 }, testutil.NewBubbleClock(), nil, testRequests)
		t.Cleanup(pool.Stop)
		pool.SetDisconnect(3, func(n *enode.Node, reason error) { u.wants <- drop{n, reason} })
		w.pool = pool
		src := newSource(bad...)
		pool.AddSource(src)
		pool.Start()
		pool.SetDisconnect(1, nil) // too late
		u.run(10 * time.Minute)
		src.feed(good...)
		u.run(20 * time.Minute)
		require.NotContains(t, u.sessions, bad[0].ID())
	})
}

// A callback that panics, or does nothing, harms nobody and is called again later.
func TestDisconnectThatFails(t *testing.T) {
	calls := 0
	edit := func(c *Config) {
		c.Disconnect = func(*enode.Node, error) {
			calls++
			panic("no")
		}
	}
	inMarket(t, edit, func(t *testing.T, u *user, bad, good []*enode.Node, src *source) {
		u.run(time.Minute)
		src.feed(good...)
		for range 60 {
			src.feed(good...)
			u.run(time.Minute)
		}
		require.GreaterOrEqual(t, calls, 3)
		require.Equal(t, calls, u.w.log.count("Disconnect panicked"))
		require.Len(t, u.sessions, 3)
	})
}

// A liar costs a dial or two; then others come first.
func TestLiarIsFoundOut(t *testing.T) {
	inBubble(t, func(c *Config) { c.NetCap = -1 }, func(t *testing.T, w *world) {
		liar, honest := testutil.PublicNode(1), publicNodes(100, 50)
		var room atomic.Bool
		w.set(always(Yes), liar)
		w.set(func(context.Context) Answer {
			if !room.Load() {
				return No
			}
			return Yes
		}, honest...)
		d := w.pool.Dialer(dialFunc(closedByPeer))
		w.pool.AddSource(newCycle(append([]*enode.Node{liar}, honest...)...))
		w.pool.Start()
		lies := 0
		for end := time.Now().Add(20 * time.Minute); time.Now().Before(end); {
			n := w.next(time.Minute)
			if n == nil {
				continue
			}
			require.Equal(t, liar.ID(), n.ID())
			lies++
			conn, err := d.Dial(context.Background(), n)
			require.NoError(t, err)
			conn.Close()
		}
		require.Greater(t, lies, 2, "when there is nobody else it is tried at times")
		asked := len(w.timesAsked(liar))
		room.Store(true)
		believed := 0
		for range 10 {
			if w.mustNext(time.Minute).ID() == liar.ID() {
				believed++
			}
		}
		require.LessOrEqual(t, believed, 1, "others come first")
		require.Less(t, lies, asked, "not every yes was believed")
	})
}

// Where nothing comes back by UDP servers are dialed unasked, and a query is made
// now and then to see whether that is over.
func TestDeadPathIsGivenUp(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		nodes := publicNodes(0, 1000)
		w.set(always(Silent), nodes...)
		w.pool.AddSource(newSource(nodes...))
		w.pool.Start()
		begin := time.Now()
		w.mustNext(20 * time.Second)
		asked := w.totalAsked()
		for range 50 {
			w.mustNext(time.Second)
			time.Sleep(200 * time.Millisecond)
		}
		require.LessOrEqual(t, w.totalAsked()-asked, int(time.Since(begin)/probePath)+1)
		require.Greater(t, w.totalAsked(), asked)
		w.set(always(No), nodes...)
		time.Sleep(probePath)
		for range 10 { // until a probe is answered
			w.next(time.Second)
			time.Sleep(time.Second)
		}
		require.Nil(t, w.next(2*time.Second), "now they are asked")
	})
}

// A server that takes no queries, among others that do and are full, is dialed at
// a set rate.
func TestMuteServerIsDialed(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		silent, full := testutil.PublicNode(1), publicNodes(100, 20)
		w.set(always(Silent), silent)
		w.set(always(No), full...)
		w.pool.AddSource(newCycle(append([]*enode.Node{silent}, full...)...))
		w.pool.Start()
		dials := 0
		for end := time.Now().Add(20 * time.Minute); time.Now().Before(end); {
			if n := w.next(time.Minute); n != nil {
				require.Equal(t, silent.ID(), n.ID())
				dials++
				time.Sleep(blindTimeout)
			}
		}
		require.GreaterOrEqual(t, dials, 3)
		require.LessOrEqual(t, dials, 22)
	})
}

// While the own network is down nobody is punished for it.
func TestOwnOutagePunishesNobody(t *testing.T) {
	inBubble(t, func(c *Config) { c.Query = nil }, func(t *testing.T, w *world) {
		nodes := publicNodes(0, 40)
		d := w.pool.Dialer(dialFunc(func(context.Context, *enode.Node) (net.Conn, error) {
			return nil, errors.New("network is unreachable")
		}))
		w.pool.AddSource(newCycle(nodes...))
		w.pool.Start()
		for end := time.Now().Add(time.Hour); time.Now().Before(end); {
			if n := w.next(time.Minute); n != nil {
				_, err := d.Dial(context.Background(), n)
				require.Error(t, err)
			}
		}
		for _, n := range nodes {
			require.LessOrEqual(t, w.wait(n), 20*time.Second)
		}
		require.NotNil(t, w.next(2*time.Minute))
	})
}

// Conduct is remembered over a crash.
func TestConductIsRemembered(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		require.Nil(t, w.next(persistInterval+time.Second))
		w.crash()
		w.open(nil)
		c, ok := w.pool.mu.conducts.get(n.ID())
		require.True(t, ok)
		require.Equal(t, uint8(1), c.no)
	})
}

// A known server that gave less than a place should give is left out when another one is
// missing, as long as there is time. That takes no callback.
func TestServersThatGaveTooLittleComeLast(t *testing.T) {
	for name, c := range map[string]struct {
		given  []float64 // what the server gave before, if it did
		blind  bool      // there is no query function
		since  time.Duration
		hurry  bool
		leaves bool // is left out
	}{
		"nothing is known of it":   {},
		"it was good":              {given: []float64{0.3}},
		"it was bad":               {given: []float64{0.1}, leaves: true},
		"nobody else was found":    {given: []float64{0.1}, since: choosy},
		"others are being dialed":  {given: []float64{0.1}, since: choosy, blind: true, leaves: true},
		"nobody else was there":    {given: []float64{0.1}, since: patient, blind: true},
		"there is no other server": {given: []float64{0.1}, hurry: true},
	} {
		t.Run(name, func(t *testing.T) {
			edit := func(config *Config) {
				if config.Wanted = 2; c.blind {
					config.Query = nil
				}
			}
			inBubble(t, edit, func(t *testing.T, w *world) {
				w.pool.Start()
				servers, known := publicNodes(1, 2), testutil.PublicNode(10)
				for _, n := range servers {
					w.connect(n)
				}
				w.pool.UnregisterNode(servers[0])
				if c.hurry {
					w.pool.UnregisterNode(servers[1])
				}
				time.Sleep(c.since)
				w.pool.mu.Lock()
				defer w.pool.mu.Unlock()
				w.pool.mu.replacing.limit = 0.2
				for _, mean := range c.given {
					*w.pool.mu.replacing.given.latest(known.ID()) = mean
				}
				require.Equal(t, c.leaves, w.pool.gaveTooLittleLocked(known, w.pool.clock.Now()))
			})
		})
	}
}

// What a place should give is known in a pool that may not replace servers, too.
func TestLimitWithoutDisconnect(t *testing.T) {
	off := func(c *Config) { c.Disconnect = nil }
	inMarket(t, off, func(t *testing.T, u *user, bad, good []*enode.Node, src *source) {
		u.run(time.Hour)
		src.feed(good...)
		for _, n := range bad {
			u.leave(n)
		}
		u.run(time.Hour)
		u.leave(u.order[0])
		limit := guarded(u.w.pool, func() float64 { return u.w.pool.mu.replacing.limit })
		require.Greater(t, limit, scoreOf(200*time.Millisecond), "there are better ones")
	})
}
