package simnet

import (
	"context"
	"slices"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// This file is the client's dial scheduler.

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
	d := &dialing{node: n}
	c.mu.dialing = append(c.mu.dialing, d)
	c.mu.record.Dials++
	index := c.net.Index(n.ID())
	if index < c.net.cfg.Crowd {
		c.mu.record.Crowded++
	}
	c.pool.DialBegins(n)
	switch s := c.net.server(index); {
	case s.present(now):
		c.after(s.rtt, func() { c.connectedLocked(d, s) })
	case s.refuses:
		c.after(s.rtt, func() { c.dialFailedLocked(d, ErrRefused) })
	default:
		c.after(dialTimeout, func() { c.dialFailedLocked(d, ErrTimeout) })
	}
}

// dialing is a dial under way.
type dialing struct {
	node      *enode.Node
	connected bool
	over      bool // the pool did not want to wait any longer
}

func (c *Client) isDialingLocked(id enode.ID) bool { return c.findDialLocked(id) != nil }

func (c *Client) findDialLocked(id enode.ID) *dialing {
	for _, d := range c.mu.dialing {
		if d.node.ID() == id {
			return d
		}
	}
	return nil
}

// endDialLocked frees the slot of a dial.
func (c *Client) endDialLocked(d *dialing) {
	i := slices.Index(c.mu.dialing, d)
	c.mu.dialing = slices.Delete(c.mu.dialing, i, i+1)
}

func (c *Client) dialFailedLocked(d *dialing, err error) {
	if !d.over {
		c.pool.DialFails(d.node, err)
		c.wastedLocked(d)
	}
}

// giveUp ends a dial that the pool's dialer has ended.
func (c *Client) giveUp(n *enode.Node) {
	c.after(0, func() {
		if d := c.findDialLocked(n.ID()); d != nil && !d.connected {
			d.over = true
			c.wastedLocked(d)
		}
	})
}

func (c *Client) wastedLocked(d *dialing) {
	c.endDialLocked(d)
	c.mu.record.Wasted++
	c.scheduleLocked()
}

// connectedLocked goes on with the handshakes.
func (c *Client) connectedLocked(d *dialing, s *server) {
	if d.over {
		return
	}
	d.connected = true
	c.pool.DialConnects(d.node)
	c.after(handshake*s.rtt, func() {
		now := c.net.now()
		switch {
		case len(c.mu.sessions) >= c.cfg.Wanted: // others were faster
			c.dialFailedLocked(d, context.Canceled)
		case s.present(now) && s.hasRoom(now):
			c.beginLocked(d, s)
		default:
			c.pool.Refused(d.node)
			c.wastedLocked(d)
		}
	})
}
