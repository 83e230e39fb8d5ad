package serverpool

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// What a person is told.

func statusOfNode(t *testing.T, w *world, n *enode.Node) NodeStatus {
	synctest.Wait()
	s, ok := w.pool.NodeStatus(n.ID())
	require.True(t, ok)
	require.Equal(t, n.ID(), s.ID)
	return s
}

// A node on its way, as its status tells it.
func TestStatusFollowsANode(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n, src := testutil.PublicNode(1), newSource()
		w.pool.AddSource(newSource())
		w.pool.AddSource(src)
		w.pool.Start()
		_, ok := w.pool.NodeStatus(n.ID())
		require.False(t, ok)

		w.set(func(context.Context) Answer { time.Sleep(time.Second); return No }, n)
		src.feed(n)
		require.Nil(t, w.next(500*time.Millisecond))
		s := statusOfNode(t, w, n)
		require.Equal(t, "asked", s.State)
		require.Equal(t, "asked", s.Reason)
		require.Equal(t, "source 2", s.Source)
		require.Empty(t, s.Answer)

		require.Nil(t, w.next(time.Second))
		s = statusOfNode(t, w, n)
		require.Equal(t, "waiting", s.State)
		require.Equal(t, "full", s.Reason)
		require.Equal(t, "no", s.Answer)
		require.InDelta(t, 10, time.Duration(s.Wait).Seconds(), 1.1)

		w.set(always(Yes), n)
		time.Sleep(12 * time.Second)
		src.feed(n)
		w.mustNext(time.Second)
		s = statusOfNode(t, w, n)
		require.Equal(t, "dialed", s.State)
		require.Equal(t, "yes", s.Answer)
		require.Equal(t, "dialed", s.Reason)
	})
}

func TestStatusOfAServer(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.Start()
		tracker := w.connect(n)
		for range 90 {
			tracker.Served([]ServedRequest{{Amount: 1}}, 100*time.Millisecond)
		}
		for range 5 {
			tracker.Served([]ServedRequest{{Amount: 2}}, time.Second)
		}
		tracker.Failed([]ServedRequest{{Amount: 3}})
		time.Sleep(updatePeriod)
		s := statusOfNode(t, w, n)
		require.Equal(t, "connected", s.State)
		require.Equal(t, "connected", s.Reason)
		require.True(t, s.Known)
		require.InDelta(t, 0.1, time.Duration(s.Median).Seconds(), 0.03)
		require.InDelta(t, 1, time.Duration(s.Percentile90).Seconds(), 0.3)
		require.InDelta(t, 100, s.Answered, 0.5)
		require.InDelta(t, 3, s.Failed, 0.1)
		require.Equal(t, s.Value, s.SessionValue)
		require.Greater(t, s.Value, 80.)
		require.InDelta(t, 10000, s.DialCost, 1)
		require.InEpsilon(t, s.Value*100, s.Weight, 0.01)

		w.pool.UnregisterNode(n)
		s = statusOfNode(t, w, n)
		require.Equal(t, "waiting", s.State)
		require.Equal(t, "disconnected", s.Reason)
		require.Zero(t, s.SessionValue)

		require.NoError(t, w.pool.Ban(n, time.Hour, "spam"))
		s = statusOfNode(t, w, n)
		require.Equal(t, "banned: spam", s.Reason)
		require.Equal(t, Duration(time.Hour), s.Banned)
	})
}

// What a server's answers are worth is there to see, and so is a path by which
// none come.
func TestStatusOfPromisesAndSilence(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		good, bad, mute := testutil.PublicNode(1), testutil.PublicNode(2), testutil.PublicNode(3)
		w.set(always(Yes), good, bad)
		w.set(always(Silent), mute)
		src := newSource(good, bad, mute)
		w.pool.AddSource(src)
		d := w.pool.Dialer(dialFunc(closedByPeer))
		w.pool.Start()
		for range 2 {
			if n := w.mustNext(time.Second); n.ID() == good.ID() {
				w.connect(n)
			} else {
				conn, err := d.Dial(context.Background(), n)
				require.NoError(t, err)
				conn.Close()
			}
		}
		require.Nil(t, w.next(30*time.Second))
		src.feed(mute)
		require.Nil(t, w.next(time.Second))
		a, b, c := statusOfNode(t, w, good), statusOfNode(t, w, bad), statusOfNode(t, w, mute)
		require.Equal(t, []any{"answers", 1, 0}, []any{a.UDP, a.PromisesKept, a.PromisesBroken})
		require.Equal(t, []any{"answers", 0, 1}, []any{b.UDP, b.PromisesKept, b.PromisesBroken})
		require.Equal(t, []any{"mute", 0, 0}, []any{c.UDP, c.PromisesKept, c.PromisesBroken})
		require.Greater(t, a.Trust, c.Trust)
		require.Greater(t, c.Trust, b.Trust)

		require.False(t, w.pool.Status().UDP4Dead)
		silent := publicNodes(100, 2*deadPathAfter)
		w.set(always(Silent), silent...)
		time.Sleep(answerProves)
		src.feed(silent...)
		w.next(10 * time.Second)
		s := w.pool.Status()
		require.True(t, s.UDP4Dead)
		require.False(t, s.UDP6Dead)
		require.False(t, s.NetworkDown, "a server is connected")
		require.Contains(t, s.Words, "nobody answers by UDP")
		w.pool.UnregisterNode(good)
		require.True(t, w.pool.Status().NetworkDown)
	})
}

// Every way in which a node can be turned away or fail has its reason.
func TestReasonsOfNodes(t *testing.T) {
	edit := func(c *Config) {
		c.Accept = func(n *enode.Node) error {
			if n.ID() == testutil.PublicNode(1).ID() {
				return errors.New("wrong fork")
			}
			return nil
		}
		c.Trusted = []string{testutil.PublicNode(9).String()}
	}
	inBubble(t, edit, func(t *testing.T, w *world) {
		crowd := []*enode.Node{testutil.Node(20, 1, "99.0.0.1"), testutil.Node(21, 1, "99.0.0.2"), testutil.Node(22, 1, "99.0.0.3")}
		w.set(mute, crowd...)
		w.set(always(Silent), testutil.PublicNode(2))
		w.set(always(Yes), testutil.PublicNode(3))
		require.NoError(t, w.pool.Ban(testutil.PublicNode(4), time.Hour, ""))
		w.pool.AddSource(newSource(append(crowd[:2:2], publicNodes(1, 4)...)...))
		src := newSource()
		w.pool.AddSource(src)
		w.pool.Start()
		require.Equal(t, testutil.PublicNode(9).ID(), w.mustNext(time.Second).ID())
		require.Equal(t, testutil.PublicNode(3).ID(), w.mustNext(time.Second).ID())
		require.Nil(t, w.next(time.Second))
		src.feed(crowd[2])
		require.Nil(t, w.next(time.Second))
		inbound := testutil.FakeNode(30, 0)
		w.connect(inbound)
		for n, want := range map[*enode.Node][2]string{
			testutil.PublicNode(1): {"not accepted: wrong fork", "source 1"},
			testutil.PublicNode(2): {"silent", "source 1"},
			testutil.PublicNode(4): {"banned", "source 1"},
			crowd[2]:               {"not accepted: too many nodes of its network", "source 2"},
			testutil.PublicNode(9): {"dialed", "trusted"},
			inbound:                {"connected", "inbound"},
		} {
			s := statusOfNode(t, w, n)
			require.Equal(t, want, [2]string{s.Reason, s.Source})
		}
		s := w.pool.Status()
		require.Equal(t, map[string]int{"not accepted": 2, "silent": 1, "banned": 1, "dialed": 2, "connected": 1, "asked": 2}, s.Outcomes)
		require.Equal(t, 8, s.Seen)
		time.Sleep(blindTimeout)
		require.Equal(t, "timed out", statusOfNode(t, w, testutil.PublicNode(3)).Reason)
	})
}

// What earlier runs have learned of a node can be seen before it comes up.
func TestStatusOfANodeFromAnEarlierRun(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n, src := testutil.PublicNode(1), newSource()
		w.set(always(Unasked), n)
		w.pool.AddSource(src)
		w.pool.Start()
		failUntil(w, src, n, 100*time.Second)
		restart(w, nil)
		s := statusOfNode(t, w, n)
		require.Equal(t, "idle", s.State)
		require.InDelta(t, 100, time.Duration(s.Wait).Seconds(), 50)
		w.pool.Start()
		src = newSource(n)
		w.pool.AddSource(src)
		require.Nil(t, w.next(time.Second))
		require.Equal(t, "source 1", statusOfNode(t, w, n).Source)
	})
}

// Newer go-ethereums name the sources of nodes.
func TestSourceThatHasAName(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.pool.AddSource(dnsSource{newSource(n)})
		w.pool.Start()
		require.Nil(t, w.next(time.Second))
		require.Equal(t, "dns", statusOfNode(t, w, n).Source)
	})
}

type dnsSource struct{ *source }

func (dnsSource) NodeSource() string { return "dns" }

// The lists are bounded, and ordered as they say.
func TestListsOfAStatus(t *testing.T) {
	edit := func(c *Config) { c.NetCap = -1 }
	inBubble(t, edit, func(t *testing.T, w *world) {
		w.pool.Start()
		known, others := publicNodes(0, 120), publicNodes(200, 130)
		for i, n := range known {
			w.befriend(uint32(10+i), n)
		}
		src := newSource(others...)
		w.pool.AddSource(src)
		require.Nil(t, w.next(8*time.Second)) // all are full
		for _, n := range known[:5] {
			w.connect(n)
		}
		s := w.pool.Status()
		require.Equal(t, 5, s.Connected)
		require.Equal(t, 120, s.Known)
		require.Len(t, s.ConnectedServers, 5)
		require.Len(t, s.KnownServers, maxListed)
		require.Len(t, s.Candidates, maxListed)
		for i := range s.ConnectedServers[1:] {
			require.Negative(t, strings.Compare(s.ConnectedServers[i].ID.String(), s.ConnectedServers[i+1].ID.String()))
		}
		for i := range s.KnownServers[1:] {
			require.GreaterOrEqual(t, s.KnownServers[i].Weight, s.KnownServers[i+1].Weight)
			require.NotEqual(t, "connected", s.KnownServers[i].State)
		}
		for i := range s.Candidates[1:] {
			require.LessOrEqual(t, s.Candidates[i].Wait, s.Candidates[i+1].Wait)
		}
		w.pool.Stop()
		last := w.pool.Status()
		require.Len(t, last.KnownServers, maxListed, "as it was at the end")
		last.KnownServers[0], last.Outcomes["full"] = NodeStatus{}, -1
		again := w.pool.Status() // those were copies
		require.NotEqual(t, NodeStatus{}, again.KnownServers[0])
		require.NotEqual(t, -1, again.Outcomes["full"])
	})
}

func TestWords(t *testing.T) {
	for want, s := range map[string]Status{
		"no server, and nobody has asked the iterator for one":                 {Wanted: 5},
		"looking for servers: no source has brought a node":                    {Wanted: 5, Needed: true},
		"looking for servers: 1 seen":                                          {Wanted: 5, Dialed: 1, Seen: 1},
		"5 servers connected":                                                  {Wanted: 5, Connected: 5, Seen: 100},
		"looking for servers: 9 seen, nobody answers by UDP":                   {Seen: 9, Needed: true, UDP6Dead: true},
		"looking for servers: 9 seen, nobody reacts: is the own network down?": {Seen: 9, Needed: true, UDP4Dead: true, NetworkDown: true},
		"looking for servers: 9 seen, 4 not believed":                          {Seen: 9, Needed: true, Outcomes: map[string]int{"not believed": 4}},
		"2 of 5 servers connected, looking for more: 9 seen, 3 full":           {Wanted: 5, Connected: 2, Seen: 9, Outcomes: map[string]int{"full": 3}},
		"looking for servers: 132 seen, 87 full, 12 silent, next redial in 14s": {
			Wanted: 5, Needed: true, Seen: 132, Outcomes: map[string]int{"full": 87, "silent": 12},
			Waiting: 99, NextRedial: Duration(13800 * time.Millisecond),
		},
		"looking for servers: 20 seen, 1 full, 2 silent, 3 asked, 4 dialed, 5 refused, 6 timed out, 7 not dialed, 8 not accepted, 9 banned": {
			Needed: true, Seen: 20, Banned: 9, Outcomes: map[string]int{
				"full": 1, "silent": 2, "asked": 3, "dialed": 4, "refused": 5, "timed out": 6, "not dialed": 7, "not accepted": 8,
			},
		},
	} {
		require.Equal(t, want, s.String())
	}
}

// The line is logged once a minute while there is no server, and only then.
func TestItIsSaidWhyThereIsNoServer(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		w.pool.AddSource(newSource(publicNodes(0, 3)...))
		w.pool.Start()
		require.Nil(t, w.next(3*time.Minute+time.Second))
		lines := w.log.infos("No server is connected")
		require.Len(t, lines, 3)
		require.Contains(t, lines[2], "looking for servers: 3 seen, 3 full")
		n := testutil.PublicNode(9)
		w.connect(n)
		time.Sleep(5 * time.Minute)
		require.Len(t, w.log.infos("No server is connected"), 3)
		w.pool.UnregisterNode(n)
		time.Sleep(2 * time.Minute)
		require.Len(t, w.log.infos("No server is connected"), 5)
	})
}

// The notes are bounded, and their counts are those of the notes.
func TestNotesAreBounded(t *testing.T) {
	n := newNotes()
	for i := range uint64(notedNodes + 1000) {
		require.True(t, n.see(idOf(i), ""))
		n.set(idOf(i), []outcome{outcomeFull, outcomeSilent, outcomeNone}[i%3], "")
		n.set(idOf(i/2), outcomeAsked, "")
	}
	require.Equal(t, notedNodes, n.len())
	counted := make(map[string]int)
	for _, id := range n.ids() {
		if o := n.get(id).outcome; o != outcomeNone {
			counted[o.String()]++
		}
	}
	require.Equal(t, counted, n.outcomes())
	n.remove(n.ids()[0])
	require.Equal(t, notedNodes-1, n.len())
}

func TestShortText(t *testing.T) {
	require.Equal(t, "short", shortText("short"))
	require.Equal(t, "\uFFFD", shortText("\xff"))
	long := shortText(strings.Repeat("ä", maxText))
	require.Equal(t, strings.Repeat("ä", maxText/2), long)
}
