package simnet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// This file is what the stories of the client's tests are told with.

// story is a client, and a pool that says what is told to it.
type story struct {
	t      *testing.T
	clock  *testutil.Clock
	net    *Network
	client *Client

	candidates []int // to give out
	next       func(*enode.Node)
	asked      int
	events     []event
	served     map[int]int
	failed     map[int]int
}

type event struct {
	at   time.Duration
	what string
}

func nobodyThere(c *Config) { c.Up, c.Down = 1, 1<<62 }

func roomForAll(c *Config) { c.Full, c.Up, c.Liars, c.Loss = 0, 0, 0, 0 }

// tell starts a client in a network of 20 servers.
func tell(t *testing.T, edit func(*Config), config ClientConfig) *story {
	cfg := Default(1)
	cfg.Servers = 20
	edit(&cfg)
	s := &story{t: t, clock: new(testutil.Clock), served: make(map[int]int), failed: make(map[int]int)}
	var err error
	s.net, err = New(cfg, s.clock)
	require.NoError(t, err)
	s.client = NewClient(s.net, config)
	s.client.Start(s)
	s.clock.Run(0)
	return s
}

// offer has the pool give out candidates.
func (s *story) offer(candidates ...int) {
	s.candidates = append(s.candidates, candidates...)
	s.give()
	s.clock.Run(0)
}

func (s *story) give() {
	if s.next != nil && len(s.candidates) > 0 {
		f, n := s.next, s.net.Node(s.candidates[0])
		s.next, s.candidates = nil, s.candidates[1:]
		s.clock.AfterFunc(0, func() { f(n) })
	}
}

func (s *story) note(n *enode.Node, what string) {
	s.events = append(s.events, event{s.net.now(), fmt.Sprint(s.net.Index(n.ID()), " ", what)})
}

// count returns the events whose text ends so.
func (s *story) count(what string) (found []event) {
	for _, e := range s.events {
		if strings.HasSuffix(e.what, what) {
			found = append(found, e)
		}
	}
	return found
}

func (s *story) dialed() (nodes []int) {
	for _, e := range s.count("begins") {
		var i int
		_, err := fmt.Sscanf(e.what, "%d begins", &i)
		require.NoError(s.t, err)
		nodes = append(nodes, i)
	}
	return nodes
}

func (s *story) requests() (counts []int) {
	for i := range 3 {
		counts = append(counts, s.served[i]+s.failed[i])
	}
	return slices.Clone(counts)
}

func (s *story) Next(f func(*enode.Node)) {
	require.Nil(s.t, s.next, "one question at a time")
	s.asked++
	s.next = f
	s.give()
}

func (s *story) DialBegins(n *enode.Node)           { s.note(n, "begins") }
func (s *story) DialFails(n *enode.Node, err error) { s.note(n, fmt.Sprint("fails ", err)) }
func (s *story) DialConnects(n *enode.Node)         { s.note(n, "connects") }
func (s *story) Refused(n *enode.Node)              { s.note(n, "refused") }
func (s *story) Unregister(n *enode.Node)           { s.note(n, "unregister") }
func (s *story) Timeout() time.Duration             { return time.Second }
func (s *story) Register(n *enode.Node) (Tracker, error) {
	s.note(n, "register")
	return &tally{s, s.net.Index(n.ID())}, nil
}

type tally struct {
	story  *story
	server int
}

func (t *tally) Served(time.Duration) { t.story.served[t.server]++ }
func (t *tally) Failed()              { t.story.failed[t.server]++ }
