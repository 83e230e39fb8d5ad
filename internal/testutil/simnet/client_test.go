package simnet

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// p2p dials as many as there are free slots, and takes a candidate only when
// there is one.
func TestClientDialsWhileThereAreSlots(t *testing.T) {
	s := tell(t, nobodyThere, ClientConfig{Wanted: 3})
	s.offer(0, 1, 2, 3)
	require.Equal(t, []int{0, 1, 2}, s.dialed())
	require.Equal(t, 3, s.asked, "not for the fourth")
	s.clock.Run(2 * dialTimeout)
	require.Equal(t, 4, s.client.Record().Wasted)
	require.Equal(t, []int{0, 1, 2, 3}, s.dialed())
	require.Equal(t, 5, s.asked, "two slots are free, and there is one question at a time")
}

func TestClientDialsMoreThanItNeedsIfToldSo(t *testing.T) {
	s := tell(t, nobodyThere, ClientConfig{Wanted: 3, Overdial: 2, MaxPending: 5})
	s.offer(0, 1, 2, 3, 4, 5, 6)
	require.Equal(t, []int{0, 1, 2, 3, 4}, s.dialed(), "bounded by MaxPending")
	require.Equal(t, 5, s.asked)
}

// What is more than wanted in the end is hung up on from this side.
func TestClientKeepsNoMoreThanWanted(t *testing.T) {
	s := tell(t, roomForAll, ClientConfig{Wanted: 2, Overdial: 2})
	s.offer(0, 1, 2, 3)
	s.clock.Run(time.Minute)
	require.Len(t, s.client.Sessions(), 2)
	require.Len(t, s.count("register"), 2)
	require.Len(t, s.count("fails context canceled"), 2)
	require.Equal(t, 2, s.client.Record().Wasted)
}

// p2p reads candidates before there is a slot for them, and dials them when
// there is one, however old they are.
func TestClientReadsAhead(t *testing.T) {
	s := tell(t, roomForAll, ClientConfig{Wanted: 1, Ahead: 2})
	s.offer(0, 1, 2, 3)
	s.clock.Run(time.Minute)
	require.Equal(t, []int{0}, s.dialed())
	require.Equal(t, 3, s.asked)
	s.clock.Run(time.Hour)
	s.client.Disconnect(s.net.Node(0))
	s.clock.Run(0)
	require.Equal(t, []int{0, 1}, s.dialed())
	require.Equal(t, 4, s.asked)
}

// For 35 seconds p2p drops a node that it has dialed without a word.
func TestClientDialsNoNodeTwiceInAShortTime(t *testing.T) {
	s := tell(t, nobodyThere, ClientConfig{Wanted: 1})
	s.offer(0)
	s.clock.Run(dialTimeout)
	s.offer(0)
	s.clock.Run(dialHistory - dialTimeout - 1)
	s.offer(0)
	require.Equal(t, []int{0}, s.dialed())
	require.Equal(t, 2, s.client.Record().Passed)
	require.Equal(t, 4, s.asked, "the next one is wanted at once")
	s.clock.Run(1)
	s.offer(0)
	require.Equal(t, []int{0, 0}, s.dialed())
}

func TestClientDoesNotDialWhoIsConnected(t *testing.T) {
	s := tell(t, roomForAll, ClientConfig{Wanted: 2})
	s.offer(0)
	s.clock.Run(time.Minute)
	s.offer(0)
	require.Equal(t, []int{0}, s.dialed())
}

// A dead host refuses after a round trip, or lets the dial time out.
func TestDialsOfTheDeadFail(t *testing.T) {
	s := tell(t, nobodyThere, ClientConfig{Wanted: 20})
	var all []int
	for i := range 20 {
		all = append(all, i)
	}
	s.offer(all...)
	s.clock.Run(time.Minute)
	refused := 0
	for i := range 20 {
		server := s.net.server(i)
		want := event{dialTimeout, fmt.Sprintf("%d fails %v", i, ErrTimeout)}
		if server.refuses {
			refused++
			want = event{server.rtt, fmt.Sprintf("%d fails %v", i, ErrRefused)}
		}
		require.Contains(t, s.events, want)
	}
	require.Greater(t, refused, 3)
	require.Less(t, refused, 17)
	require.Equal(t, 20, s.client.Record().Wasted)
}

// A connection takes one round trip, the handshakes four more.
func TestServersWithRoomAreRegistered(t *testing.T) {
	s := tell(t, roomForAll, ClientConfig{Wanted: 1})
	s.offer(0)
	s.clock.Run(time.Minute)
	rtt := s.net.server(0).rtt
	require.Equal(t, []event{{0, "0 begins"}, {rtt, "0 connects"}, {5 * rtt, "0 register"}}, s.events)
	record := s.client.Record()
	require.Equal(t, []Milestone{{At: 5 * rtt, Dials: 1}}, record.Reached)
	require.Equal(t, []Session{{Server: 0, Begin: 5 * rtt}}, record.Sessions)
	require.Equal(t, 5*rtt, record.ShortOf)
	require.Equal(t, 5*rtt, record.Without)
	require.Equal(t, time.Minute-5*rtt, record.Connected[s.net.server(0).class])
	require.Equal(t, 1, record.Dials)
	require.Zero(t, record.Wasted)
}

func TestFullServersRefuse(t *testing.T) {
	s := tell(t, func(c *Config) { c.Full = 1 }, ClientConfig{Wanted: 1})
	s.offer(0)
	s.clock.Run(time.Minute)
	rtt := s.net.server(0).rtt
	require.Equal(t, []event{{0, "0 begins"}, {rtt, "0 connects"}, {5 * rtt, "0 refused"}}, s.events)
	require.Equal(t, 1, s.client.Record().Wasted)
}

// A server ends the session when its time has come, and the slot is free again.
func TestServersEndSessions(t *testing.T) {
	s := tell(t, roomForAll, ClientConfig{Wanted: 1})
	s.offer(0, 1)
	s.clock.Run(24 * time.Hour)
	first := s.count("0 unregister")[0].at
	require.Equal(t, s.net.server(0).evictions.due, first)
	require.Equal(t, []int{0, 1}, s.dialed())
	record := s.client.Record()
	require.Equal(t, first, record.Sessions[0].End)
	require.Equal(t, 2, record.Ended)
	require.Zero(t, record.Drops)
	require.Len(t, record.Reached, 1)
}

func TestPoolMayDisconnect(t *testing.T) {
	s := tell(t, roomForAll, ClientConfig{Wanted: 1})
	s.offer(0)
	s.clock.Run(time.Minute)
	s.client.Disconnect(s.net.Node(1))
	s.client.Disconnect(s.net.Node(0))
	s.client.Disconnect(s.net.Node(0))
	s.clock.Run(0)
	require.Empty(t, s.client.Sessions())
	require.Len(t, s.count("unregister"), 1)
	require.Equal(t, 1, s.client.Record().Drops)
	s.clock.Run(24 * time.Hour)
	require.Zero(t, s.client.Record().Ended, "the server has nothing left to end")
}

// A full server whom the client leaves has one free place, for as long as places
// are free.
func TestPlacesThatAreLeftStayFreeForAWhile(t *testing.T) {
	s := tell(t, func(c *Config) { roomForAll(c); c.Full, c.Spell, c.Classes[0].Session = 0.95, time.Minute, 0 }, ClientConfig{Wanted: 1})
	stays, sum := 0, time.Duration(0)
	for i := range 20 {
		server := s.net.server(i)
		for !server.hasRoom(s.net.now()) {
			s.clock.Run(time.Second)
		}
		s.offer(i)
		s.clock.Run(5 * server.rtt)
		if len(s.client.Sessions()) == 0 {
			continue // it was full again before the handshakes ended
		}
		for server.room.at(s.net.now()) && len(s.client.Sessions()) > 0 {
			s.clock.Run(time.Second)
		}
		s.client.Disconnect(s.net.Node(i))
		s.clock.Run(0)
		require.True(t, server.hasRoom(s.net.now()))
		stays, sum = stays+1, sum+server.free-s.net.now()
		s.clock.Run(server.free - s.net.now())
		require.Equal(t, server.room.at(s.net.now()), server.hasRoom(s.net.now()), "somebody has taken it")
	}
	require.Greater(t, stays, 10)
	require.InDelta(t, time.Minute.Seconds(), (sum / time.Duration(stays)).Seconds(), 40)
}

// 20 requests a second take turns among the servers.
func TestRequestsAreSpreadEvenly(t *testing.T) {
	s := tell(t, func(c *Config) {
		roomForAll(c)
		for k := range c.Classes {
			c.Classes[k].Session = 0
		}
	}, ClientConfig{Wanted: 3})
	s.offer(0, 1, 2)
	s.clock.Run(time.Minute)
	before := s.requests()
	s.clock.Run(time.Minute)
	for i, after := range s.requests() {
		require.Equal(t, 400, after-before[i])
	}
	record := s.client.Record()
	require.Equal(t, s.served[0]+s.served[1]+s.served[2], record.Answers.Count)
	require.Equal(t, s.failed[0]+s.failed[1]+s.failed[2], record.Lost)
	require.Positive(t, record.Lost)
}

// Answers that come later than five seconds are of no use.
func TestLateAnswersCountAsFailed(t *testing.T) {
	s := tell(t, func(c *Config) {
		roomForAll(c)
		c.Classes = []Class{{Name: "late", Share: 1, ThinkMin: giveUp, ThinkMax: giveUp}}
	}, ClientConfig{Wanted: 1})
	s.offer(0)
	s.clock.Run(time.Minute)
	record := s.client.Record()
	require.Zero(t, record.Answers.Count)
	require.InDelta(t, 1180, record.Lost, 20)
	require.Equal(t, record.Lost, s.failed[0])
}

func TestQueriesTakeARoundTrip(t *testing.T) {
	s := tell(t, roomForAll, ClientConfig{})
	var got []event
	s.client.Query(s.net.Node(0), func(a Answer) { got = append(got, event{s.net.now(), fmt.Sprint(a)}) })
	s.clock.Run(time.Minute)
	require.Equal(t, []event{{s.net.server(0).rtt, fmt.Sprint(Yes)}}, got)
	require.Equal(t, 1, s.client.Record().Queries)
}

// A query waits twice for 0.7 s before it counts as silence, as those of discv5
// do, and a second packet may help.
func TestSilenceTakesTwoTries(t *testing.T) {
	s := tell(t, func(c *Config) { roomForAll(c); c.Loss, c.Servers = 0.3, 500 }, ClientConfig{})
	times := make(map[string]int)
	for i := range 500 {
		if s.net.server(i).rtt > queryTimeout {
			continue
		}
		s.client.Query(s.net.Node(i), func(a Answer) {
			times[fmt.Sprintf("%v %v", a, (s.net.now()-s.net.server(i).rtt).Round(queryTimeout))]++
			if a == Silence {
				require.Equal(t, queryTries*queryTimeout, s.net.now())
			}
		})
	}
	s.clock.Run(time.Minute)
	once, twice := times[fmt.Sprint(Yes, " 0s")], times[fmt.Sprint(Yes, " 700ms")]
	require.InDelta(t, 0.7*490, once, 40)
	require.InDelta(t, 0.21*490, twice, 30)
}

// Distant servers answer too late.
func TestAnswersAfterTheTimeoutAreSilence(t *testing.T) {
	s := tell(t, func(c *Config) { roomForAll(c); c.Latency = 1000 }, ClientConfig{})
	silent := false
	s.client.Query(s.net.Node(0), func(a Answer) { silent = a == Silence })
	s.clock.Run(time.Minute)
	require.True(t, silent)
}

func TestStopEndsEverything(t *testing.T) {
	s := tell(t, roomForAll, ClientConfig{Wanted: 3})
	s.offer(0, 1)
	s.clock.Run(time.Minute)
	s.offer(2)
	answered := false
	s.client.Query(s.net.Node(3), func(Answer) { answered = true })
	s.client.Stop()
	require.Len(t, s.count("unregister"), 2)
	require.Len(t, s.count(fmt.Sprint("2 fails ", context.Canceled)), 1)
	events := len(s.events)
	s.clock.Run(time.Hour)
	require.Len(t, s.events, events)
	require.True(t, answered, "those who wait for an answer get it")
}

func TestQuantiles(t *testing.T) {
	var times, before Times
	require.Zero(t, times.Quantile(0.5)+times.Mean())
	for ms := range 1000 {
		times.add(time.Duration(ms) * time.Millisecond)
		if ms == 499 {
			before = times
		}
	}
	for _, q := range []float64{0.1, 0.5, 0.9} {
		require.InEpsilon(t, q, times.Quantile(q).Seconds(), 0.04)
	}
	since := times.Since(before)
	require.InEpsilon(t, 0.75, since.Quantile(0.5).Seconds(), 0.04)
	require.InEpsilon(t, 0.7495, since.Mean().Seconds(), 0.0001)
	times.add(time.Hour)
	require.Equal(t, 1001, times.Count)
}
