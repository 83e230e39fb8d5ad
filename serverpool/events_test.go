package serverpool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lespool/lespool/internal/testutil"
)

// What the application is told of.

// diary is what events say, as text.
type diary struct {
	mu    sync.Mutex
	names map[enode.ID]string
	lines []string
}

func (d *diary) write(n *enode.Node, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, d.names[n.ID()]+" "+fmt.Sprintf(format, args...))
}

// take returns what was written since the last call.
func (d *diary) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := strings.Join(d.lines, "; ")
	d.lines = nil
	return text
}

func (d *diary) events() Events {
	return Events{
		Found:     func(n *enode.Node, source string) { d.write(n, "found by %s", source) },
		Asked:     func(n *enode.Node) { d.write(n, "asked") },
		Answered:  func(n *enode.Node, a Answer) { d.write(n, "answered %v", a) },
		Dialed:    func(n *enode.Node) { d.write(n, "dialed") },
		Refused:   func(n *enode.Node, reason string) { d.write(n, "%s", reason) },
		Connected: func(n *enode.Node) { d.write(n, "connected") },
		Dropped:   func(n *enode.Node, reason error) { d.write(n, "dropped, %v", reason) },
		Banned:    func(n *enode.Node, b BanInfo) { d.write(n, "banned for %v, %s", b.Left, b.Reason) },
	}
}

func TestEventsTellTheStoryInOrder(t *testing.T) {
	a, b := testutil.PublicNode(1), testutil.PublicNode(2)
	d := &diary{names: map[enode.ID]string{a.ID(): "a", b.ID(): "b"}}
	inBubble(t, func(c *Config) { c.Events = d.events() }, func(t *testing.T, w *world) {
		dialer := w.pool.Dialer(dialFunc(func(context.Context, *enode.Node) (net.Conn, error) { return nil, errors.New("no route") }))
		src := newSource()
		w.pool.AddSource(src)
		w.pool.Start()
		tells := func(want string) {
			t.Helper()
			synctest.Wait()
			require.Equal(t, want, d.take())
		}
		src.feed(a)
		require.Nil(t, w.next(time.Second))
		tells("a found by source 1; a asked; a answered no")
		w.set(always(Yes), a)
		time.Sleep(12 * time.Second)
		src.feed(a)
		w.mustNext(time.Second)
		tells("a asked; a answered yes")
		_, err := dialer.Dial(context.Background(), a)
		require.Error(t, err)
		tells("a dialed; a refused: no route")
		w.connect(b)
		w.connect(b)
		w.pool.UnregisterNode(b)
		tells("b connected")
		require.NoError(t, w.pool.Ban(b, time.Hour, "spam"))
		w.pool.UnregisterNode(b)
		tells("b banned for 1h0m0s, spam; b dropped, banned: spam")
		w.connect(a)
		w.pool.UnregisterNode(a)
		tells("a connected; a dropped, <nil>")
		w.pool.Stop()
		w.pool.UnregisterNode(a)
		tells("")
	})
}

// A query function that hangs is silence, and dials that nobody decides time
// out.
func TestEventsOfWhatTakesTooLong(t *testing.T) {
	a := testutil.PublicNode(1)
	d := &diary{names: map[enode.ID]string{a.ID(): "a"}}
	inBubble(t, func(c *Config) { c.Events = d.events() }, func(t *testing.T, w *world) {
		w.set(mute, a)
		w.pool.AddSource(newSource(a, a))
		w.pool.Start()
		require.Nil(t, w.next(queryTimeout+time.Second))
		require.Equal(t, "a found by source 1; a asked; a answered silent", d.take())
		w.set(always(Unasked), a)
		require.NoError(t, w.pool.SetTrusted(a, true))
		require.Equal(t, a.ID(), w.mustNext(time.Minute).ID())
		time.Sleep(blindTimeout + time.Second)
		require.Equal(t, "a dialed; a timed out", d.take())
	})
}

// A function may take its time: the pool does not wait for it, and it hears of
// everything in the end.
func TestSlowEventDelaysNobody(t *testing.T) {
	release, told := make(chan struct{}), 0
	edit := func(c *Config) {
		c.Events.Asked = func(*enode.Node) { <-release; told++ }
	}
	inBubble(t, edit, func(t *testing.T, w *world) {
		release = make(chan struct{}) // of this bubble
		n := testutil.PublicNode(50)
		w.set(always(Yes), n)
		w.pool.AddSource(newSource(append(publicNodes(0, 40), n)...))
		w.pool.Start()
		require.Equal(t, n.ID(), w.mustNext(3*time.Second).ID())
		require.Equal(t, 41, w.pool.Status().Asked)
		synctest.Wait()
		require.Zero(t, told)
		close(release)
		synctest.Wait()
		require.Equal(t, 41, told)
		require.Zero(t, w.pool.Status().EventsLost)
	})
}

// What waits is bounded, and what is lost is counted.
func TestLostEventsAreCounted(t *testing.T) {
	var release chan struct{}
	var told atomic.Int64
	edit := func(c *Config) {
		c.Events.Banned = func(*enode.Node, BanInfo) { <-release; told.Add(1) }
	}
	inBubble(t, edit, func(t *testing.T, w *world) {
		release = make(chan struct{})
		const bans = maxUndelivered + 10
		n := testutil.PublicNode(1)
		for i := range bans {
			require.NoError(t, w.pool.Ban(n, time.Hour, ""))
			if i == 0 {
				synctest.Wait() // it is being told, the others wait
			}
		}
		require.Equal(t, 9, w.pool.Status().EventsLost)
		close(release)
		synctest.Wait()
		require.EqualValues(t, bans-9, told.Load())
		require.NoError(t, w.pool.Ban(testutil.PublicNode(1), time.Hour, ""))
		synctest.Wait()
		require.EqualValues(t, bans-8, told.Load(), "and it goes on")
	})
}

// A function that panics, or ends its goroutine, harms nothing.
func TestEventThatPanicsHarmsNothing(t *testing.T) {
	calls := 0
	edit := func(c *Config) {
		c.Events.Connected = func(*enode.Node) {
			switch calls++; calls {
			case 1:
				panic("oops")
			case 2:
				runtime.Goexit()
			}
		}
	}
	inBubble(t, edit, func(t *testing.T, w *world) {
		w.pool.Start()
		for _, n := range publicNodes(0, 3) {
			w.connect(n)
		}
		synctest.Wait()
		require.Equal(t, 3, calls)
		require.Equal(t, 1, w.log.count("A function that hears of events panicked"))
	})
}

// allTo are events that all call one function.
func allTo(once func(name string, n *enode.Node)) Events {
	return Events{
		Found:     func(n *enode.Node, _ string) { once("found", n) },
		Asked:     func(n *enode.Node) { once("asked", n) },
		Answered:  func(n *enode.Node, _ Answer) { once("answered", n) },
		Dialed:    func(n *enode.Node) { once("dialed", n) },
		Refused:   func(n *enode.Node, _ string) { once("refused", n) },
		Connected: func(n *enode.Node) { once("connected", n) },
		Dropped:   func(n *enode.Node, _ error) { once("dropped", n) },
		Banned:    func(n *enode.Node, _ BanInfo) { once("banned", n) },
	}
}

// A function may call the pool, all of it.
func TestEventsMayCallThePool(t *testing.T) {
	var w *world
	done := make(map[string]bool)
	all := func(name string, n *enode.Node) {
		p := w.pool
		p.Status()
		p.NodeStatus(n.ID())
		p.KnownServers()
		p.GetTimeout()
		p.DialNode(n)
		p.Persist(n)
		p.Bans()
		p.AddSource(newSource())
		p.API().RequestStats()
		_ = p.SetTrusted(testutil.PublicNode(7), true)
		_ = p.Ban(testutil.PublicNode(8), time.Hour, "")
		p.Unban(testutil.PublicNode(8).ID())
		_ = p.Forget(testutil.PublicNode(9).ID())
		if _, err := p.RegisterNode(testutil.PublicNode(6)); err == nil {
			p.UnregisterNode(testutil.PublicNode(6))
		}
		p.Start()
		p.Iterator().Node()
		done[name] = true
	}
	once := func(name string, n *enode.Node) {
		if !done[name] && n.ID() == testutil.PublicNode(1).ID() {
			all(name, n)
		}
	}
	edit := func(c *Config) { c.Events = allTo(once) }
	inBubble(t, edit, func(t *testing.T, world *world) {
		w = world
		n := testutil.PublicNode(1)
		w.set(always(Yes), n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		for {
			if got := w.mustNext(time.Minute); got.ID() == n.ID() { // not the one that an event made trusted
				break
			}
		}
		time.Sleep(blindTimeout + time.Second)
		w.connect(n)
		w.pool.UnregisterNode(n)
		require.NoError(t, w.pool.Ban(n, time.Hour, ""))
		synctest.Wait()
		require.Len(t, done, 8)
	})
}

// Stop lets what waits be told, within its time; afterwards nothing is.
func TestStopAndEvents(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, slow := range []bool{false, true} {
		release := make(chan struct{})
		var told atomic.Int64
		p, err := New(Config{Requests: testRequests, Events: Events{Banned: func(*enode.Node, BanInfo) {
			if told.Add(1); slow {
				<-release
			}
		}}})
		require.NoError(t, err)
		for range 10 {
			require.NoError(t, p.Ban(testutil.PublicNode(1), time.Hour, ""))
		}
		begin := time.Now()
		p.Stop()
		require.Less(t, time.Since(begin), time.Second)
		want := int64(10)
		if slow {
			want = 1
		}
		require.Equal(t, want, told.Load())
		close(release)
		require.True(t, p.calls.wait(10*time.Second))
		require.Equal(t, want, told.Load())
	}
}

// Stop from inside an event works, though it waits for itself a moment.
func TestStopInsideAnEvent(t *testing.T) {
	stopped := make(chan struct{})
	var p *ServerPool
	p, err := New(Config{Requests: testRequests, Events: Events{Banned: func(*enode.Node, BanInfo) {
		p.Stop()
		close(stopped)
	}}})
	require.NoError(t, err)
	require.NoError(t, p.Ban(testutil.PublicNode(1), time.Hour, ""))
	<-stopped
	require.ErrorIs(t, p.Ban(testutil.PublicNode(1), time.Hour, ""), ErrClosed)
}

// A pool without goroutines tells in the event loop.
func TestEventsOfASteppedPool(t *testing.T) {
	clock, n := new(testutil.Clock), testutil.PublicNode(1)
	d := &diary{names: map[enode.ID]string{n.ID(): "n"}}
	p, s, err := NewStepped(Config{Requests: testRequests, Clock: clock, Events: d.events()}, nil)
	require.NoError(t, err)
	defer p.Stop()
	p.Start()
	s.Next(func(n *enode.Node) { s.DialBegins(n).Failed() })
	s.Discover(n)
	require.Empty(t, d.take(), "not by the one who calls")
	clock.Run(time.Second)
	require.Equal(t, "n found by discovery; n dialed; n refused", d.take())
	require.NoError(t, p.Ban(n, time.Hour, ""))
	p.Stop()
	require.Equal(t, "n banned for 1h0m0s, ", d.take())
}
