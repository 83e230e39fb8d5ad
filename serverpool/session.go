package serverpool

import (
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/p2p/netutil"

	"github.com/lespool/lespool/lespay"
	"github.com/lespool/lespool/nodestate"
)

// session is a registered server.
type session struct {
	tracker *NodeValueTracker
	count   int // of RegisterNode calls without UnregisterNode
	judged
	// askedToGo is why the application was asked to drop it; guarded by the
	// pool's mutex.
	askedToGo error
}

// RegisterNode tells the pool that a server is connected, whether the pool had
// given it out or not. The tracker is told what the server does for us. A node
// registered twice has one tracker and is gone after as many calls of
// UnregisterNode. Errors: [ErrNotStarted], [ErrClosed], [ErrNoNode].
func (p *ServerPool) RegisterNode(n *enode.Node) (*NodeValueTracker, error) {
	if n == nil {
		return nil, ErrNoNode
	}
	p.registerMu.Lock()
	defer p.registerMu.Unlock()
	if p.stopping.Load() {
		return nil, ErrClosed
	}
	if !p.isStarted() {
		return nil, ErrNotStarted
	}
	id := n.ID()
	if s := p.sessionOf(id); s != nil {
		s.count++
		return s.tracker, nil
	}
	s := &session{tracker: p.values.Register(id), count: 1}
	s.since, s.at, s.seen = p.clock.Now(), p.clock.Now(), s.tracker.RtStats()
	p.setSession(id, s)
	if err := p.ns.Operation(func(op nodestate.Op) { p.connect(op, n, s) }); err != nil {
		p.setSession(id, nil)
		p.values.Unregister(id)
		return nil, ErrClosed
	}
	p.tellConnected(n)
	if b, ok := p.banOf(id); ok {
		p.ns.Operation(func(op nodestate.Op) { p.enforceBan(op, n, b) })
	}
	return s.tracker, nil
}

// UnregisterNode tells the pool that the connection to a server has ended.
// Nodes that are not registered are ignored.
func (p *ServerPool) UnregisterNode(n *enode.Node) {
	if n == nil {
		return
	}
	p.registerMu.Lock()
	defer p.registerMu.Unlock()
	id := n.ID()
	s := p.sessionOf(id)
	if s == nil {
		return
	}
	if s.count--; s.count > 0 {
		return
	}
	p.tellDropped(n, p.whyAskedToGo(s))
	err := p.ns.Operation(func(op nodestate.Op) { p.disconnect(op, n) })
	p.setSession(id, nil)
	if err == nil {
		p.values.Unregister(id)
	}
}

func (p *ServerPool) sessionOf(id enode.ID) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.sessions[id]
}

func (p *ServerPool) whyAskedToGo(s *session) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.askedToGo
}

func (p *ServerPool) setSession(id enode.ID, s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == nil {
		if len(p.mu.sessions) == p.cfg.Wanted {
			p.mu.shortSince = p.clock.Now()
		}
		delete(p.mu.sessions, id)
	} else {
		p.mu.sessions[id] = s
		p.mu.hadEnough = p.mu.hadEnough || len(p.mu.sessions) >= p.cfg.Wanted
	}
}

// connect enters a new session.
func (p *ServerPool) connect(op nodestate.Op, n *enode.Node, s *session) {
	st := p.st
	state := op.Machine().GetState(n)
	h := p.historyOf(n)
	p.dialDecides(n.ID(), true)
	p.mu.Lock()
	p.mu.ownNet.reacted()
	p.mu.Unlock()
	if state.HasAll(st.dialed) {
		if ip := n.IP(); ip != nil && netutil.IsLAN(ip) { // loopback included
			st.localAddress.SetIn(op, n, n.Record())
		}
	} else if state.IsEmpty() && !h.isGiven && h.waitEnd == 0 {
		h.inbound = true
	}
	p.setHistory(op, n, h)
	st.connectedStats.SetIn(op, n, s.tracker.RtStats())
	p.mu.Lock()
	p.mu.netCap.force(n.ID(), n.IP)
	p.mu.Unlock()
	op.SetState(n, st.connected, nodestate.MergeFlags(st.query, st.canDial, st.dialed, st.dialTimeout, st.redialWait), 0)
	p.setWeight(op, n, h, p.serviceOf(n, h))
}

// disconnect ends a session.
func (p *ServerPool) disconnect(op nodestate.Op, n *enode.Node) {
	s := p.endSession(op, n)
	p.mu.Lock()
	p.mu.metrics.sessionValue(s.session)
	p.mu.Unlock()
	p.st.connectedStats.ClearIn(op, n)
}

// updateConnected brings the weights of connected servers up to date.
func (p *ServerPool) updateConnected(op nodestate.Op) {
	for n := range op.Machine().All(p.st.connected, none) {
		h := p.historyOf(n)
		p.setWeight(op, n, h, p.serviceOf(n, h))
	}
}

// serviceOf sums up what a server was worth.
func (p *ServerPool) serviceOf(n *enode.Node, h history) service {
	factor := p.values.StatsExpFactor()
	weights := p.timeoutWeights()
	stats := p.values.GetNode(n.ID()).RtStats()
	total, session := stats.Value(weights, factor), 0.0
	if start, ok := p.st.connectedStats.Get(p.ns, n); ok {
		stats.SubStats(&start)
		session = stats.Value(weights, factor)
	}
	return newService(total, session, float64(h.dialCost.Value(p.logOffset())))
}

func (p *ServerPool) logOffset() lespay.Fixed64 {
	return p.values.StatsExpirer().LogOffset(p.clock.Now())
}

// DialNode returns the node with the address at which it was reached last, if
// that was one on this host or in the local network, else the node itself.
func (p *ServerPool) DialNode(n *enode.Node) *enode.Node {
	if n == nil {
		return nil
	}
	r, ok := p.st.localAddress.Get(p.ns, n)
	if !ok || r == nil {
		return n
	}
	local, err := enode.New(localID(n.ID()), r)
	if err != nil {
		return n
	}
	return local
}

// localID is the identity scheme of local addresses, whose records are not
// checked again.
type localID enode.ID

func (localID) Verify(*enr.Record, []byte) error { return nil }
func (id localID) NodeAddr(r *enr.Record) []byte { return id[:] }

// timeoutState holds the recommended timeout and when it was computed.
type timeoutState struct {
	timeout time.Duration
	weights lespay.ResponseTimeWeights
	at      mclock.AbsTime
	ok      bool
}

// timeoutRefresh is how old the recommended timeout may be. Less follows the
// network closer, more computes less.
const timeoutRefresh = 5 * time.Second

// GetTimeout returns the time after which a request is better sent to another
// server. It may be called at any time.
func (p *ServerPool) GetTimeout() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.timeoutLocked().timeout
}

func (p *ServerPool) timeoutWeights() lespay.ResponseTimeWeights {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.timeoutLocked().weights
}

func (p *ServerPool) timeoutLocked() *timeoutState {
	t, now := &p.mu.timeout, p.clock.Now()
	if t.ok && (now.Sub(t.at) < timeoutRefresh || p.stopping.Load()) {
		return t
	}
	rts, factor := p.values.RtStats(), p.values.StatsExpFactor()
	t.timeout, t.weights = recommendTimeout(rts, factor)
	t.at, t.ok = now, true
	p.mu.metrics.timeout(t.timeout, rts.Value(t.weights, factor))
	return t
}
