package simnet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// ClientConfig describes a client. The zero value of each field stands for its
// default.
type ClientConfig struct {
	// Wanted is how many connections it keeps. Default 5.
	Wanted int
	// MaxPending bounds the dials under way, as p2p.Config.MaxPendingPeers does.
	// Default 50.
	MaxPending int
	// Overdial is how many dials are under way for each free slot: 2 in p2p, if
	// its configuration leaves room for them. Default 1.
	Overdial int
	// Ahead is how many candidates are taken before there is a slot for them: 2
	// in p2p, which reads each protocol's candidates through a mixer. Default 0.
	Ahead int
	// Requests is how many requests a second it makes. Default 20.
	Requests int
}

// What p2p has as constants, and what light clients have.
const (
	dialHistory  = 35 * time.Second // in which a node is not dialed again
	dialTimeout  = 15 * time.Second
	handshake    = 4 // round trips after the connection: encryption, two of p2p's, status
	queryTimeout = 700 * time.Millisecond
	queryTries   = 2
	giveUp       = 5 * time.Second // answers that take longer are worth nothing
	requestTick  = time.Second
)

// Errors that dials fail with.
var (
	ErrRefused = errors.New("simnet: connection refused")
	ErrTimeout = errors.New("simnet: dial timed out")
)

// Client is a light client in a network. Query, Disconnect and Record may be
// called concurrently and anywhere; Start and Stop once each.
type Client struct {
	net   *Network
	cfg   ClientConfig
	clock mclock.Clock
	pool  Pool

	mu struct {
		sync.Mutex // for the network too
		running    bool
		started    time.Duration
		asking     bool // for a candidate
		held       []*enode.Node
		dialing    []*enode.Node              // in order of their beginning
		dialed     map[enode.ID]time.Duration // by node, when
		history    []dialed                   // the same in order
		sessions   []*session                 // in order of their beginning
		turn       int                        // who gets the first of the next requests
		counted    time.Duration              // times in the record are up to date until then
		record     Record
	}
}

type dialed struct {
	id enode.ID
	at time.Duration
}

type session struct {
	node    *enode.Node
	server  *server
	tracker Tracker
	timer   mclock.Timer
	record  int // index in the record's Sessions
}

// NewClient returns a client, which does nothing until Start.
func NewClient(n *Network, config ClientConfig) *Client {
	c := &Client{net: n, cfg: config, clock: n.clock}
	for _, field := range []struct {
		value     *int
		byDefault int
	}{{&c.cfg.Wanted, 5}, {&c.cfg.MaxPending, 50}, {&c.cfg.Overdial, 1}, {&c.cfg.Requests, 20}} {
		if *field.value == 0 {
			*field.value = field.byDefault
		}
	}
	c.mu.dialed = make(map[enode.ID]time.Duration)
	c.mu.record = newRecord(len(n.cfg.Classes))
	return c
}

// Start has the client find servers through a pool.
func (c *Client) Start(pool Pool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pool = pool
	c.mu.running = true
	c.mu.started = c.net.now()
	c.mu.counted = c.mu.started
	c.tickLocked()
	c.scheduleLocked()
}

// Stop ends all dials and sessions.
func (c *Client) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.countLocked()
	c.mu.running = false
	for _, n := range c.mu.dialing {
		c.pool.DialFails(n, context.Canceled)
	}
	for len(c.mu.sessions) > 0 {
		c.endLocked(c.mu.sessions[0])
	}
}

// Record returns what has happened so far.
func (c *Client) Record() Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.running {
		c.countLocked()
	}
	r := c.mu.record
	r.Reached = slices.Clone(r.Reached)
	r.Connected = slices.Clone(r.Connected)
	r.Sessions = slices.Clone(r.Sessions)
	return r
}

// Sessions returns the servers that are connected, in order of the beginning.
func (c *Client) Sessions() (nodes []*enode.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.mu.sessions {
		nodes = append(nodes, s.node)
	}
	return nodes
}

// after runs f later, with the mutex held, unless the client has stopped by then.
func (c *Client) after(d time.Duration, f func()) mclock.Timer {
	return c.always(d, func() {
		if c.mu.running {
			f()
		}
	})
}

// always runs f later, with the mutex held.
func (c *Client) always(d time.Duration, f func()) mclock.Timer {
	return c.clock.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		f()
	})
}

// ---- the dial scheduler -----------------------------------------------------

// scheduleLocked dials candidates while there are slots and asks for more.
func (c *Client) scheduleLocked() {
	for len(c.mu.held) > 0 && c.freeSlotsLocked() > 0 {
		n := c.mu.held[0]
		c.mu.held = c.mu.held[1:]
		c.dialLocked(n)
	}
	if !c.mu.asking && len(c.mu.held) < c.cfg.Ahead+max(c.freeSlotsLocked(), 0) {
		c.mu.asking = true
		c.pool.Next(func(n *enode.Node) {
			c.after(0, func() {
				c.mu.asking = false
				if n != nil {
					c.mu.held = append(c.mu.held, n)
					c.scheduleLocked()
				}
			})
		})
	}
}

// freeSlotsLocked returns how many dials may begin.
func (c *Client) freeSlotsLocked() int {
	slots := (c.cfg.Wanted - len(c.mu.sessions)) * c.cfg.Overdial
	return min(slots, c.cfg.MaxPending) - len(c.mu.dialing)
}

// dialLocked dials a candidate, unless p2p would pass over it without a word.
func (c *Client) dialLocked(n *enode.Node) {
	now := c.net.now()
	for len(c.mu.history) > 0 && now-c.mu.history[0].at >= dialHistory {
		delete(c.mu.dialed, c.mu.history[0].id)
		c.mu.history = c.mu.history[1:]
	}
	if _, ok := c.mu.dialed[n.ID()]; ok || c.isDialingLocked(n.ID()) || c.sessionLocked(n.ID()) != nil {
		c.mu.record.Passed++
		return
	}
	c.mu.dialed[n.ID()] = now
	c.mu.history = append(c.mu.history, dialed{n.ID(), now})
	c.mu.dialing = append(c.mu.dialing, n)
	c.mu.record.Dials++
	index := c.net.Index(n.ID())
	if index < c.net.cfg.Crowd {
		c.mu.record.Crowded++
	}
	c.pool.DialBegins(n)
	switch s := c.net.server(index); {
	case s.present(now):
		c.after(s.rtt, func() { c.connectedLocked(n, s) })
	case s.refuses:
		c.after(s.rtt, func() { c.dialFailedLocked(n, ErrRefused) })
	default:
		c.after(dialTimeout, func() { c.dialFailedLocked(n, ErrTimeout) })
	}
}

func (c *Client) isDialingLocked(id enode.ID) bool {
	return slices.ContainsFunc(c.mu.dialing, func(n *enode.Node) bool { return n.ID() == id })
}

// endDialLocked frees the slot of a dial.
func (c *Client) endDialLocked(n *enode.Node) {
	i := slices.Index(c.mu.dialing, n)
	c.mu.dialing = slices.Delete(c.mu.dialing, i, i+1)
}

func (c *Client) dialFailedLocked(n *enode.Node, err error) {
	c.pool.DialFails(n, err)
	c.wastedLocked(n)
}

func (c *Client) wastedLocked(n *enode.Node) {
	c.endDialLocked(n)
	c.mu.record.Wasted++
	c.scheduleLocked()
}

// connectedLocked goes on with the handshakes.
func (c *Client) connectedLocked(n *enode.Node, s *server) {
	c.pool.DialConnects(n)
	c.after(handshake*s.rtt, func() {
		full := len(c.mu.sessions) >= c.cfg.Wanted
		if now := c.net.now(); full || !s.present(now) || !s.hasRoom(now) {
			c.pool.Refused(n)
			c.wastedLocked(n)
			return
		}
		c.beginLocked(n, s)
	})
}

// ---- sessions ---------------------------------------------------------------

func (c *Client) beginLocked(n *enode.Node, s *server) {
	c.endDialLocked(n)
	tracker, err := c.pool.Register(n)
	if err != nil {
		panic(fmt.Sprintf("simnet: a running pool does not register a node: %v", err))
	}
	c.countLocked()
	now := c.net.now()
	r := &c.mu.record
	this := &session{node: n, server: s, tracker: tracker, record: len(r.Sessions)}
	c.mu.sessions = append(c.mu.sessions, this)
	r.Sessions = append(r.Sessions, Session{Server: s.index, Begin: now - c.mu.started})
	if len(c.mu.sessions) > len(r.Reached) {
		r.Reached = append(r.Reached, now-c.mu.started)
	}
	this.timer = c.after(s.sessionEnd(now)-now, func() {
		c.mu.record.Ended++
		c.endLocked(this)
		c.scheduleLocked()
	})
	c.scheduleLocked()
}

func (c *Client) endLocked(s *session) {
	c.countLocked()
	i := slices.Index(c.mu.sessions, s)
	c.mu.sessions = slices.Delete(c.mu.sessions, i, i+1)
	s.timer.Stop()
	c.mu.record.Sessions[s.record].End = c.net.now() - c.mu.started
	c.pool.Unregister(s.node)
}

func (c *Client) sessionLocked(id enode.ID) *session {
	for _, s := range c.mu.sessions {
		if s.node.ID() == id {
			return s
		}
	}
	return nil
}

// Disconnect ends the session with a server because the pool wants it.
func (c *Client) Disconnect(n *enode.Node) {
	c.after(0, func() {
		if s := c.sessionLocked(n.ID()); s != nil {
			c.mu.record.Drops++
			c.endLocked(s)
			c.scheduleLocked()
		}
	})
}

// countLocked brings the times of the record up to date.
func (c *Client) countLocked() {
	now := c.net.now()
	passed := now - c.mu.counted
	c.mu.counted = now
	r := &c.mu.record
	for _, s := range c.mu.sessions {
		class := s.server.class
		if s.server.sybil {
			class = len(r.Connected) - 1
		}
		r.Connected[class] += passed
	}
	if len(c.mu.sessions) < c.cfg.Wanted {
		r.ShortOf += passed
	}
	if len(c.mu.sessions) == 0 {
		r.Without += passed
	}
}

// ---- requests and queries ---------------------------------------------------

// tickLocked makes the requests of each second. They take turns among the
// servers.
func (c *Client) tickLocked() {
	c.after(requestTick, c.tickLocked)
	if c.net.now() == c.mu.started {
		return
	}
	c.pool.Timeout()
	count := len(c.mu.sessions)
	if count == 0 {
		return
	}
	now := c.net.now()
	for i, s := range c.mu.sessions {
		requests := c.cfg.Requests / count
		if (i+count-c.mu.turn%count)%count < c.cfg.Requests%count {
			requests++
		}
		s.server.answers(now, requests, func(d time.Duration) { c.answeredLocked(s, d) })
	}
	c.mu.turn += c.cfg.Requests % count
}

func (c *Client) answeredLocked(s *session, d time.Duration) {
	if d > giveUp {
		c.mu.record.Lost++
		s.tracker.Failed()
		return
	}
	c.mu.record.Answers.add(d)
	s.tracker.Served(d)
}

// Query asks a server by UDP whether it has room. The answer comes as an
// argument of f, after a round trip, or as silence after two packets without
// answer.
func (c *Client) Query(n *enode.Node, f func(Answer)) {
	c.always(0, func() {
		c.mu.record.Queries++
		c.tryLocked(c.net.server(c.net.Index(n.ID())), 1, f)
	})
}

func (c *Client) tryLocked(s *server, try int, f func(Answer)) {
	answer := s.ask(c.net.now())
	if answer != Silence && s.rtt <= queryTimeout {
		c.clock.AfterFunc(s.rtt, func() { f(answer) })
		return
	}
	if try < queryTries {
		c.always(queryTimeout, func() { c.tryLocked(s, try+1, f) })
		return
	}
	c.clock.AfterFunc(queryTimeout, func() { f(Silence) })
}
