package serverpool

import (
	"cmp"
	"slices"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// NodeStatus is what the pool knows of a node. Durations are seconds in JSON.
type NodeStatus struct {
	ID   enode.ID    `json:"id"`
	Node *enode.Node `json:"node,omitempty"` // the newest record; nil if the pool has only heard of it

	// State is "connected", "dialed", "candidate" (waits to be given out),
	// "asked", "waiting" (until its redial time) or "idle".
	State   string `json:"state"`
	Reason  string `json:"reason"` // what came of it last and why: one of Status.Outcomes, then ": " and details
	Known   bool   `json:"known"`  // its service was worth something
	Trusted bool   `json:"trusted"`
	Source  string `json:"source"` // that brought it last; "known", "trusted" or "inbound" if none has lately
	Answer  string `json:"answer"` // to the last query; empty if there was none lately

	UDP            string  `json:"udp"`            // "answers", "mute" (takes no queries, as it seems), or empty if it was not asked enough
	PromisesKept   int     `json:"promisesKept"`   // of room, by a connection
	PromisesBroken int     `json:"promisesBroken"` // halved by each one kept
	Trust          float64 `json:"trust"`          // in its next promise, from 0 to 1

	Weight       uint64   `json:"weight"`       // chance of being chosen, relative to other known servers
	Value        float64  `json:"value"`        // of its service, in average requests, decayed
	SessionValue float64  `json:"sessionValue"` // of these in the session under way
	Answered     float64  `json:"answered"`     // average requests that it answered, decayed
	Failed       float64  `json:"failed"`       // and that came to nothing
	DialCost     float64  `json:"dialCost"`     // decayed; a dial is 10,000, a query 500
	Median       Duration `json:"median"`       // of its answers; half of them took longer; 0 if there is none
	Percentile90 Duration `json:"percentile90"` // of its answers; a tenth of them took longer
	Wait         Duration `json:"wait"`         // until its redial time
	Banned       Duration `json:"banned"`       // until its ban ends
}

// maxListed is how many nodes each list of Status holds at most.
const maxListed = 100

// NodeStatus returns what is known of a node. It may be called at any time; ok
// is false if nothing is, as of nodes that were never tried and did not come up
// lately, and of all nodes after Stop.
func (p *ServerPool) NodeStatus(id enode.ID) (s NodeStatus, ok bool) {
	n := p.ns.GetNode(id)
	if n == nil && !p.knows(id) || p.lastStatus() != nil {
		return NodeStatus{}, false
	}
	return p.statusOf(id, n), true
}

// knows tells whether anything is known of a node outside of the machine.
func (p *ServerPool) knows(id enode.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.notes.get(id) != nil || slices.ContainsFunc(p.ledgers, func(l anyLedger) bool { return l.has(id) })
}

// statusOf describes a node, which is nil if the machine does not know it.
func (p *ServerPool) statusOf(id enode.ID, n *enode.Node) NodeStatus {
	s := NodeStatus{ID: id, Node: n, State: "idle"}
	if n != nil {
		h := p.historyOf(n)
		p.setState(&s, p.ns.GetState(n), h)
		p.setValue(&s, h)
	}
	until, _ := p.ns.TimeoutOf(n, p.st.redialWait)
	now := p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.mu.notes.get(id); m != nil {
		s.Reason = m.text()
		if m.source != "" {
			s.Source = m.source
		}
		if m.asked {
			s.Answer = m.answer.String()
		}
	}
	c, _ := p.mu.conducts.get(id)
	switch {
	case c.mute():
		s.UDP = "mute"
	case c.answered:
		s.UDP = "answers"
	}
	s.PromisesKept, s.PromisesBroken, s.Trust = int(c.kept), int(c.broken), c.trust(&p.mu.strangers)
	s.Trusted = p.isTrustedLocked(id)
	if r, ok := p.mu.memory.get(id); ok {
		until = max(until, r.until) // begun in an earlier run
	}
	s.Wait = Duration(max(until.Sub(now), 0))
	if b, ok := p.mu.bans.active(id, now); ok {
		s.Banned = Duration(b.until.Sub(now))
	}
	return s
}

func (p *ServerPool) setState(s *NodeStatus, state nodestate.Flags, h history) {
	for _, f := range []struct {
		flag nodestate.Flags
		name string
	}{
		{p.st.connected, "connected"}, {p.st.dialed, "dialed"}, {p.st.canDial, "candidate"},
		{p.st.query, "asked"}, {p.st.redialWait, "waiting"},
	} {
		if state.HasAll(f.flag) {
			s.State = f.name
			break
		}
	}
	s.Known = state.HasAll(p.st.hasValue)
	switch {
	case state.HasAll(p.st.alwaysConnect):
		s.Source = "trusted"
	case h.inbound:
		s.Source = "inbound"
	case s.Known:
		s.Source = "known"
	}
}

// answersLate is the share of answers that take longer than the 90th percentile.
const answersLate = 0.1

func (p *ServerPool) setValue(s *NodeStatus, h history) {
	service := p.serviceOf(s.Node, h)
	s.Value, s.SessionValue, s.DialCost = service.total, service.session, service.dialCost
	s.Weight, _ = p.st.weight.Get(p.ns, s.Node)
	stats := p.values.GetNode(s.ID).RtStats()
	times := stats.Distribution(false, p.values.StatsExpFactor())
	last := len(times) - 1
	for _, bin := range times[:last] {
		s.Answered += bin[1]
	}
	s.Failed = times[last][1]
	if s.Answered > 0 {
		s.Median, s.Percentile90 = Duration(stats.Timeout(0.5)), Duration(stats.Timeout(answersLate))
	}
}

// listed is a node of a list, before its status is made.
type listed struct {
	node   *enode.Node
	weight uint64
	until  mclock.AbsTime // of its wait; 0 if it has none
}

// fillLists adds the lists to a status.
func (p *ServerPool) fillLists(s *Status) {
	var connected, known, others []listed
	for n, state := range p.ns.All(none, none) {
		switch l := (listed{node: n}); {
		case state.HasAll(p.st.connected):
			connected = append(connected, l)
		case state.HasAll(p.st.hasValue):
			l.weight, _ = p.st.weight.Get(p.ns, n)
			known = append(known, l)
		case !state.HasNone(p.st.inDialProcess):
			l.until, _ = p.ns.TimeoutOf(n, p.st.redialWait)
			others = append(others, l)
		}
	}
	// The sorts are stable, and the nodes came ordered by id.
	slices.SortStableFunc(known, func(a, b listed) int { return cmp.Compare(b.weight, a.weight) })
	slices.SortStableFunc(others, func(a, b listed) int { return cmp.Compare(a.until, b.until) })
	s.ConnectedServers, s.KnownServers, s.Candidates = p.describe(connected), p.describe(known), p.describe(others)
}

// describe returns the states of the first nodes of a list.
func (p *ServerPool) describe(list []listed) []NodeStatus {
	infos := make([]NodeStatus, 0, min(len(list), maxListed))
	for _, l := range list[:min(len(list), maxListed)] {
		infos = append(infos, p.statusOf(l.node.ID(), l.node))
	}
	return infos
}

// see counts a node that a source brought.
func (p *ServerPool) see(o offer) {
	id := o.node.ID()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mu.notes.see(id, o.source) {
		return
	}
	p.mu.counts.seen++
	source := o.source
	switch {
	case source != "":
	case p.isTrustedLocked(id):
		source = "trusted"
	default:
		source = "known"
	}
	p.tellFoundLocked(o.node, source)
}

// noteTurnedAway notes why a node did not.
func (p *ServerPool) noteTurnedAway(id enode.ID, reason error) {
	switch {
	case isNoNews(reason):
	case reason == errBanned:
		p.note(id, outcomeBanned, "")
	default:
		p.note(id, outcomeNotAccepted, reason.Error())
	}
}
