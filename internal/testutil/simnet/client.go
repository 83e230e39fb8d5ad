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
		dialing    []*dialing                 // in order of their beginning
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
	if b, ok := pool.(*blocking); ok {
		b.giveUp = c.giveUp
	}
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
	for _, d := range c.mu.dialing {
		c.pool.DialFails(d.node, context.Canceled)
	}
	for len(c.mu.sessions) > 0 {
		c.leaveLocked(c.mu.sessions[0])
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

func (c *Client) beginLocked(d *dialing, s *server) {
	n := d.node
	c.endDialLocked(d)
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
		r.Reached = append(r.Reached, Milestone{At: now - c.mu.started, Dials: r.Dials, Queries: r.Queries})
	}
	this.timer = c.after(s.sessionEnd(now)-now, func() {
		if slices.Contains(c.mu.sessions, this) {
			c.mu.record.Ended++
			c.endLocked(this)
			c.scheduleLocked()
		}
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

// leaveLocked ends a session from our side.
func (c *Client) leaveLocked(s *session) {
	s.server.left(c.net.now())
	c.endLocked(s)
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
			c.leaveLocked(s)
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
