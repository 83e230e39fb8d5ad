package serverpool

import (
	"maps"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/lespool/lespool/nodestate"
)

// Status tells what the pool has done since it was made and what it has now.
type Status struct {
	Seen        int            `json:"seen"`        // different nodes that sources brought
	Asked       int            `json:"asked"`       // queries made
	SaidYes     int            `json:"saidYes"`     // of these
	SaidNo      int            `json:"saidNo"`      // of these
	Silent      int            `json:"silent"`      // of these
	Unasked     int            `json:"unasked"`     // candidates that take no queries
	SilentInRow int            `json:"silentInRow"` // latest queries that stayed silent
	Dialed      int            `json:"dialed"`      // without a dialer of the pool's: given out
	Refused     int            `json:"refused"`     // dials that failed, or that the other side closed before it was registered
	TimedOut    int            `json:"timedOut"`    // dials that came to nothing in time
	Returned    int            `json:"returned"`    // given out, but never dialed
	NotAccepted map[string]int `json:"notAccepted"` // candidates turned away, by reason

	Connected  int           `json:"connected"`  // registered servers
	Known      int           `json:"known"`      // servers of value
	Restored   int           `json:"restored"`   // of these, known from earlier runs
	Waiting    int           `json:"waiting"`    // nodes that wait for their redial time
	NextRedial time.Duration `json:"nextRedial"` // until the first of these is due, in ns
	Timeout    time.Duration `json:"timeout"`    // recommended for requests, in ns
}

// Status returns a snapshot; after Stop it is the last one. It may be called
// at any time.
func (p *ServerPool) Status() Status {
	known := len(p.KnownServers())
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.lastStatus != nil {
		last := *p.mu.lastStatus
		last.NotAccepted = maps.Clone(last.NotAccepted)
		return last
	}
	c := &p.mu.counts
	s := Status{
		Seen:        c.seen,
		Asked:       c.asked,
		SaidYes:     c.saidYes,
		SaidNo:      c.saidNo,
		Silent:      c.silent,
		Unasked:     c.unasked,
		SilentInRow: c.silentInRow,
		Dialed:      c.dialed,
		Refused:     c.refused,
		TimedOut:    c.timedOut,
		Returned:    c.returned,
		NotAccepted: make(map[string]int, len(c.turnedAway)),
		Connected:   len(p.mu.sessions),
		Known:       known,
		Restored:    c.restored,
		Waiting:     len(p.mu.waits),
		Timeout:     p.timeoutLocked().timeout,
	}
	for reason, k := range c.turnedAway {
		s.NotAccepted[reason] = k
	}
	first := true
	for _, at := range p.mu.waits {
		if d := max(at.Sub(p.clock.Now()), 0); first || d < s.NextRedial {
			s.NextRedial, first = d, false
		}
	}
	return s
}

// KnownServers returns the servers whose service was worth something, in this
// run or earlier ones, ordered by id. It may be called at any time.
func (p *ServerPool) KnownServers() []*enode.Node {
	var nodes []*enode.Node
	for n := range p.ns.All(p.st.hasValue, none) {
		nodes = append(nodes, n)
	}
	return nodes
}

// counts are the numbers behind Status.
type counts struct {
	seen, asked, saidYes, saidNo, silent, unasked int
	dialed, refused, timedOut, returned, restored int

	silentInRow int
	stuck       bool // queries do not return
	ids         *simplelru.LRU[enode.ID, struct{}]
	turnedAway  map[string]int
}

const (
	// seenIDs is how many ids are remembered to tell new nodes from old ones.
	// Nodes that come back after so many others count again.
	seenIDs = 1 << 14
	// maxReasons bounds the reasons that are told apart; the texts are the
	// application's.
	maxReasons  = 32
	otherReason = "other reasons"
)

func newCounts() counts {
	// The size is positive, the only error there is.
	ids, _ := simplelru.NewLRU[enode.ID, struct{}](seenIDs, nil)
	return counts{ids: ids, turnedAway: make(map[string]int)}
}

func (c *counts) see(id enode.ID) {
	if _, ok := c.ids.Get(id); !ok {
		c.ids.Add(id, struct{}{})
		c.seen++
	}
}

// turnAway counts a node that will not be a candidate. Nodes that are just not
// needed twice are no news.
func (c *counts) turnAway(reason error) {
	if reason == errBusy || reason == errOwnTurn || reason == errWaiting {
		return
	}
	text := reason.Error()
	if _, ok := c.turnedAway[text]; !ok && len(c.turnedAway) >= maxReasons {
		text = otherReason
	}
	c.turnedAway[text]++
}

// Gauge shows a number; go-ethereum's gauges of every version fit.
type Gauge = nodestate.Gauge

// Meter counts events; go-ethereum's meters of every version fit.
type Meter = nodestate.Meter

// metrics are the application's, nil if it has none.
type metrics struct {
	suggestedTimeout, totalValue Gauge
	sessionValueMeter            Meter
}

func (m *metrics) timeout(timeout time.Duration, totalValue float64) {
	if m.suggestedTimeout != nil {
		m.suggestedTimeout.Update(timeout.Milliseconds())
	}
	if m.totalValue != nil {
		m.totalValue.Update(int64(totalValue))
	}
}

func (m *metrics) sessionValue(v float64) {
	if m.sessionValueMeter != nil {
		m.sessionValueMeter.Mark(int64(v))
	}
}
