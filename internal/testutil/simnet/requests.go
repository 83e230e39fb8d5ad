package simnet

import (
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// This file is what the client asks of servers.

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
