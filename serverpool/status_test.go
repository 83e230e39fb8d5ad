package serverpool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rpc"
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
		"no server, and nobody has asked the iterator for one":       {Wanted: 5},
		"looking for servers: no source has brought a node":          {Wanted: 5, Needed: true},
		"looking for servers: 1 seen":                                {Wanted: 5, Dialed: 1, Seen: 1},
		"5 servers connected":                                        {Wanted: 5, Connected: 5, Seen: 100},
		"2 of 5 servers connected, looking for more: 9 seen, 3 full": {Wanted: 5, Connected: 2, Seen: 9, Outcomes: map[string]int{"full": 3}},
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
		first, _ := n.see(idOf(i))
		require.True(t, first)
		n.change(idOf(i), func(m *note) { m.outcome = []string{outcomeFull, outcomeSilent, ""}[i%3] })
		n.change(idOf(i/2), func(m *note) { m.outcome = outcomeAsked })
	}
	require.Equal(t, notedNodes, n.lru.Len())
	counted := make(map[string]int)
	for _, id := range n.lru.Keys() {
		if o := n.get(id).outcome; o != "" {
			counted[o]++
		}
	}
	require.Equal(t, counted, n.outcomes)
	n.remove(n.lru.Keys()[0])
	require.Equal(t, notedNodes-1, n.lru.Len())
}

func TestShortText(t *testing.T) {
	require.Equal(t, "short", shortText("short"))
	require.Equal(t, "\uFFFD", shortText("\xff"))
	long := shortText(strings.Repeat("ä", maxText))
	require.Equal(t, strings.Repeat("ä", maxText/2), long)
}

func TestDurationInJSON(t *testing.T) {
	for d, text := range map[Duration]string{
		0: "0", Duration(14 * time.Second): "14", Duration(1500 * time.Millisecond): "1.5", Duration(-time.Minute): "-60",
	} {
		b, err := json.Marshal(d)
		require.NoError(t, err)
		require.Equal(t, text, string(b))
		var again Duration
		require.NoError(t, json.Unmarshal(b, &again))
		require.Equal(t, d, again)
	}
	require.Equal(t, "1m0s", fmt.Sprint(Duration(time.Minute)))
	for _, bad := range []string{"1e300", `"1s"`, "{}"} {
		require.Error(t, json.Unmarshal([]byte(bad), new(Duration)), bad)
	}
}

// overRPC returns a pool and a client of its API on a real server.
func overRPC(t *testing.T) (*world, *rpc.Client) {
	w := newWorld(t)
	w.open(func(c *Config) { c.Clock = nil; c.Query = nil })
	w.pool.Start()
	server := rpc.NewServer()
	t.Cleanup(server.Stop)
	require.NoError(t, server.RegisterName("vflux", w.pool.API()))
	client := rpc.DialInProc(server)
	t.Cleanup(client.Close)
	return w, client
}

func TestPoolOverRPC(t *testing.T) {
	w, client := overRPC(t)
	friend, spammer, known := testutil.PublicNode(1), testutil.PublicNode(2), testutil.PublicNode(3)
	serve(w.connect(known), 100)
	w.pool.UnregisterNode(known)

	var ban BanInfo
	require.NoError(t, client.Call(&ban, "vflux_ban", spammer.ID(), 3600, "spam"))
	require.Equal(t, spammer.ID(), ban.ID)
	require.Equal(t, "spam", ban.Reason)
	require.Equal(t, Duration(time.Hour), ban.Left)
	var bans []BanInfo
	require.NoError(t, client.Call(&bans, "vflux_bans"))
	require.Len(t, bans, 1)
	var was bool
	require.NoError(t, client.Call(&was, "vflux_unban", spammer.URLv4()))
	require.True(t, was)
	require.NoError(t, client.Call(&was, "vflux_unban", spammer.String()))
	require.False(t, was)
	var raw json.RawMessage
	require.NoError(t, client.Call(&raw, "vflux_bans"))
	require.Equal(t, "[]", string(raw))

	require.NoError(t, client.Call(nil, "vflux_setTrusted", friend.String(), true))
	var s Status
	require.NoError(t, client.Call(&s, "vflux_poolStatus"))
	require.Equal(t, 1, s.Trusted)
	require.Equal(t, 1, s.Known)
	require.Len(t, s.KnownServers, 1)
	require.Equal(t, known.ID(), s.KnownServers[0].ID)
	require.NotEmpty(t, s.Words)
	require.ErrorContains(t, client.Call(nil, "vflux_ban", friend.ID(), 1.5, ""), "trusted")
	require.NoError(t, client.Call(nil, "vflux_setTrusted", friend.ID(), false), "known by now, so its id will do")

	var node NodeStatus
	require.NoError(t, client.Call(&node, "vflux_nodeStatus", "0x"+known.ID().String()))
	require.True(t, node.Known)
	require.Equal(t, known.String(), node.Node.String())
	require.NoError(t, client.Call(nil, "vflux_forget", known.ID()))
	require.Eventually(t, func() bool { // its last flag is gone in a moment
		err := client.Call(&node, "vflux_nodeStatus", known.ID())
		return err != nil && strings.Contains(err.Error(), "nothing is known")
	}, 10*time.Second, time.Millisecond)

}

func TestBadCallsOverRPC(t *testing.T) {
	_, client := overRPC(t)
	spammer := testutil.PublicNode(2)
	for _, call := range [][]any{
		{"vflux_nodeStatus", "nobody"}, {"vflux_ban", "nobody", 1, ""}, {"vflux_unban", "enode://zz@1.2.3.4:5"},
		{"vflux_setTrusted", "0x12", true}, {"vflux_forget", "enr:-"},
	} {
		require.ErrorContains(t, client.Call(nil, call[0].(string), call[1:]...), "neither a node id nor", call[0])
	}
	require.ErrorContains(t, client.Call(nil, "vflux_setTrusted", testutil.PublicNode(77).ID(), true), "no TCP endpoint")
	for _, seconds := range []float64{0, -1} {
		require.ErrorContains(t, client.Call(nil, "vflux_ban", spammer.ID(), seconds, ""), "time above 0")
	}
	var ban BanInfo
	require.NoError(t, client.Call(&ban, "vflux_ban", spammer.ID(), 1e300, ""))
	require.Equal(t, Duration(maxBan), ban.Left)
}

// Names in JSON begin with a small letter, at all depths.
func TestNamesInJSON(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		w.pool.Start()
		w.connect(testutil.PublicNode(1))
		require.NoError(t, w.pool.Ban(testutil.PublicNode(2), time.Minute, ""))
		for _, v := range []any{w.pool.Status(), w.pool.Bans()[0]} {
			b, err := json.Marshal(v)
			require.NoError(t, err)
			var fields map[string]any
			require.NoError(t, json.Unmarshal(b, &fields))
			if list, ok := fields["connectedServers"].([]any); ok {
				require.Len(t, list, 1)
				for name, value := range list[0].(map[string]any) {
					require.NotNil(t, value)
					require.Equal(t, strings.ToLower(name[:1]), name[:1])
				}
			}
			for name := range fields {
				require.Equal(t, strings.ToLower(name[:1]), name[:1])
			}
		}
	})
}
