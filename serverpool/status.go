package serverpool

import (
	"maps"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// Status tells what the pool has done since it was made and what it has now.
type Status struct {
	Words string `json:"words"` // the most of it in a line, see [Status.String]

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
	Outcomes    map[string]int `json:"outcomes"`    // nodes seen lately, by what came of them last
	EventsLost  int            `json:"eventsLost"`  // calls of Config.Events that were not made

	UDP4Dead    bool `json:"udp4Dead"`    // nobody answers queries by IPv4, so that servers are dialed unasked
	UDP6Dead    bool `json:"udp6Dead"`    // the same by IPv6
	NetworkDown bool `json:"networkDown"` // nobody reacts at all, which is held against no server

	Needed     bool     `json:"needed"`     // somebody waits for a candidate
	Wanted     int      `json:"wanted"`     // servers
	Connected  int      `json:"connected"`  // registered servers
	Known      int      `json:"known"`      // servers of value
	Restored   int      `json:"restored"`   // of these, known from earlier runs
	Trusted    int      `json:"trusted"`    // servers
	Banned     int      `json:"banned"`     // nodes
	Waiting    int      `json:"waiting"`    // nodes that wait for their redial time
	NextRedial Duration `json:"nextRedial"` // until the first of these is due, in JSON in seconds
	Timeout    Duration `json:"timeout"`    // recommended for requests, in JSON in seconds

	// The lists hold at most 100 nodes each.
	ConnectedServers []NodeStatus `json:"connectedServers"` // ordered by id
	KnownServers     []NodeStatus `json:"knownServers"`     // not connected; those of the largest weight first
	Candidates       []NodeStatus `json:"candidates"`       // neither; those under way, then those that wait the least
}

// Status returns a snapshot; after Stop it is the last one. It may be called
// at any time, but not many times a second: it looks at every node.
func (p *ServerPool) Status() Status {
	if last := p.lastStatus(); last != nil {
		return *last
	}
	s := p.counters()
	s.Words = s.String()
	p.fillLists(&s)
	return s
}

func (p *ServerPool) lastStatus() *Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.lastStatus == nil {
		return nil
	}
	last := *p.mu.lastStatus
	last.NotAccepted, last.Outcomes = maps.Clone(last.NotAccepted), maps.Clone(last.Outcomes)
	for _, list := range []*[]NodeStatus{&last.ConnectedServers, &last.KnownServers, &last.Candidates} {
		*list = slices.Clone(*list)
	}
	return &last
}

// counters returns a status without the lists.
func (p *ServerPool) counters() Status {
	known, waiting, lost := len(p.KnownServers()), p.waiting(), p.delivery.lost()
	now := p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
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
		NotAccepted: maps.Clone(c.turnedAway),
		Outcomes:    p.mu.notes.outcomes(),
		EventsLost:  lost,
		UDP4Dead:    p.mu.path4.isDead,
		UDP6Dead:    p.mu.path6.isDead,
		NetworkDown: p.mu.ownNet.down(len(p.mu.sessions)),
		Needed:      p.mu.needed,
		Wanted:      p.cfg.Wanted,
		Connected:   len(p.mu.sessions),
		Known:       known,
		Restored:    c.restored,
		Trusted:     len(p.mu.trusted),
		Waiting:     len(waiting),
		Timeout:     Duration(p.timeoutLocked().timeout),
	}
	for _, id := range p.mu.bans.ids() {
		if _, ok := p.mu.bans.active(id, now); ok {
			s.Banned++
		}
	}
	if len(waiting) > 0 {
		next := slices.MinFunc(waiting, wait.compare)
		s.NextRedial = Duration(max(next.until.Sub(now), 0))
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
	turnedAway  map[string]int
}

// maxReasons bounds the reasons that are told apart; the texts are the
// application's.
const (
	maxReasons  = 32
	otherReason = "other reasons"
)

func newCounts() counts { return counts{turnedAway: make(map[string]int)} }

// turnAway counts a node that will not be a candidate. Nodes that are just not
// needed twice are no news.
func (c *counts) turnAway(reason error) {
	if isNoNews(reason) {
		return
	}
	text := shortText(reason.Error())
	if _, ok := c.turnedAway[text]; !ok && len(c.turnedAway) >= maxReasons {
		text = otherReason
	}
	c.turnedAway[text]++
}

func isNoNews(reason error) bool {
	return reason == errBusy || reason == errOwnTurn || reason == errWaiting
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
