package serverpool

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// This file is what the application decides about single nodes. All of it may
// be called at any time, before Start too.

// Errors of Ban.
var (
	// ErrTrusted means that a trusted server cannot be banned.
	ErrTrusted = errors.New("serverpool: server is trusted")
	// ErrBanTime means that a ban is for no time at all.
	ErrBanTime = errors.New("serverpool: a ban needs a time above 0")
)

// BanInfo is a ban that has not ended.
type BanInfo struct {
	ID       enode.ID  `json:"id"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
	Left     Duration  `json:"left"`     // until it ends, in JSON in seconds
	Strength float64   `json:"strength"` // 1 and what is left of earlier bans
}

// Ban keeps a node out for a time of at least d, whatever its record says and
// whichever source it comes from: it is not asked, not given out and, if it is
// connected, asked to be dropped as Config.Disconnect says; without that it
// stays until it goes. The pool itself bans nobody.
//
// A ban is kept over restarts, is at most a year long, and ends by itself. A
// ban of a node that was banned before is longer: each earlier one adds d, which
// halves every 7 days from that one's end. Banning a banned node makes its ban
// last longer if d says so. The last 1,000 banned nodes are remembered; beyond
// that the ban that ends first is lifted. Of the reason 200 bytes are kept.
//
// Of a trusted server the application's trust counts: banning it is an error,
// and a ban has no effect while the server is trusted.
//
// Errors: [ErrNoNode], [ErrBanTime], [ErrTrusted], [ErrClosed].
func (p *ServerPool) Ban(n *enode.Node, d time.Duration, reason string) error {
	_, err := p.ban(n, d, reason)
	return err
}

func (p *ServerPool) ban(n *enode.Node, d time.Duration, reason string) (info BanInfo, err error) {
	switch {
	case n == nil:
		return info, ErrNoNode
	case d <= 0:
		return info, ErrBanTime
	}
	p.registerMu.Lock()
	defer p.registerMu.Unlock()
	if p.stopping.Load() {
		return info, ErrClosed
	}
	p.mu.Lock()
	if p.isTrustedLocked(n.ID()) {
		p.mu.Unlock()
		return info, ErrTrusted
	}
	now := p.now()
	b := p.mu.bans.add(n.ID(), d, reason, now)
	p.mu.Unlock()
	info = b.info(n.ID(), now)
	p.tellBanned(n, info)
	return info, p.whileRunning(func(op nodestate.Op) { p.enforceBan(op, n, b) })
}

// whileRunning runs an operation if the machine has been started.
func (p *ServerPool) whileRunning(f func(op nodestate.Op)) error {
	err := p.ns.Operation(f)
	switch {
	case errors.Is(err, nodestate.ErrNotStarted):
		return nil
	case errors.Is(err, nodestate.ErrClosed):
		return ErrClosed
	}
	return err
}

// enforceBan ends what is under way with a banned node, unless it is trusted.
func (p *ServerPool) enforceBan(op nodestate.Op, n *enode.Node, b ban) {
	state := op.Machine().GetState(n)
	switch {
	case state.HasAll(p.st.alwaysConnect):
	case state.HasAll(p.st.connected):
		p.disconnectAsked(op.Machine().GetNode(n.ID()), banned(b.reason))
	case !state.HasNone(p.st.underWay):
		p.leaveAlone(op, n, b.until.Sub(p.clock.Now()))
	}
}

// banned is the reason why a banned server should be dropped.
type banned string

func (e banned) Error() string {
	if e == "" {
		return errBanned.Error()
	}
	return errBanned.Error() + ": " + string(e)
}

// Is makes all of them equal to errBanned.
func (e banned) Is(err error) bool { return err == errBanned }

// enforceBans forgets bans that are over and done with, and asks again for
// banned servers to be dropped that are still connected.
func (p *ServerPool) enforceBans(op nodestate.Op) {
	now := p.now()
	p.mu.Lock()
	p.mu.bans.expire(now)
	p.mu.Unlock()
	for n := range op.Machine().All(p.st.connected, none) {
		if b, ok := p.banOf(n.ID()); ok {
			p.enforceBan(op, n, b)
		}
	}
}

// banOf returns the ban of a node that has not ended, whether it is trusted or
// not.
func (p *ServerPool) banOf(id enode.ID) (ban, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.bans.active(id, p.clock.Now())
}

// Unban lifts a ban, as if it had never been, and tells whether there was one
// that had not ended. The node goes on to wait for its redial time if that was
// longer.
func (p *ServerPool) Unban(id enode.ID) bool {
	p.registerMu.Lock()
	defer p.registerMu.Unlock()
	if p.stopping.Load() {
		return false
	}
	p.mu.Lock()
	_, was := p.mu.bans.active(id, p.clock.Now())
	p.mu.bans.remove(id)
	p.mu.Unlock()
	_ = p.whileRunning(func(op nodestate.Op) {
		n := op.Machine().GetNode(id)
		if was && n != nil && op.Machine().GetState(n).HasAll(p.st.redialWait) {
			p.leaveAlone(op, n, p.historyOf(n).remaining(p.unixNow()))
		}
	})
	return was
}

// Bans returns the bans that have not ended, the first to end first. It may be
// called after Stop too.
func (p *ServerPool) Bans() []BanInfo {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var infos []BanInfo
	for _, id := range p.mu.bans.ids() {
		if b, ok := p.mu.bans.active(id, now.mono); ok {
			infos = append(infos, b.info(id, now))
		}
	}
	slices.SortStableFunc(infos, func(a, b BanInfo) int { return cmp.Compare(a.Left, b.Left) })
	return infos
}

func (b *ban) info(id enode.ID, now moment) BanInfo {
	left := b.until.Sub(now.mono)
	return BanInfo{
		ID:       id,
		Reason:   b.reason,
		Since:    time.Unix(b.start, 0).UTC(),
		Left:     Duration(left),
		Strength: b.strength,
	}
}

// SetTrusted makes a node a trusted server, which is dialed whenever it may be
// and passes by queries, caps and bans, or an ordinary one again. Config.Trusted
// is what it begins with at every start: changes are not stored. A node that
// becomes trusted is tried at once, but for Config.MinRedial. Errors:
// [ErrNoNode], [ErrClosed], and that a node to be trusted has no TCP endpoint.
func (p *ServerPool) SetTrusted(n *enode.Node, trusted bool) error {
	switch {
	case n == nil:
		return ErrNoNode
	case trusted && (n.IP() == nil || n.TCP() == 0):
		return fmt.Errorf("serverpool: node %v has no TCP endpoint", n.ID())
	}
	p.registerMu.Lock()
	defer p.registerMu.Unlock()
	if p.stopping.Load() {
		return ErrClosed
	}
	p.mu.Lock()
	p.mu.trusted = slices.DeleteFunc(p.mu.trusted, func(m *enode.Node) bool { return m.ID() == n.ID() })
	if trusted {
		p.mu.trusted = append(p.mu.trusted, n)
	}
	p.mu.Unlock()
	return p.whileRunning(func(op nodestate.Op) {
		if trusted {
			op.SetState(n, p.st.alwaysConnect, none, 0)
			p.release(op, n)
			return
		}
		op.SetState(n, none, p.st.alwaysConnect, 0)
		if b, ok := p.banOf(n.ID()); ok {
			p.enforceBan(op, n, b)
		}
	})
}

func (p *ServerPool) isTrustedLocked(id enode.ID) bool {
	return slices.ContainsFunc(p.mu.trusted, func(m *enode.Node) bool { return m.ID() == id })
}

// trustedNodes parses the configured trusted servers.
func (p *ServerPool) trustedNodes() (nodes []*enode.Node) {
	for _, url := range p.cfg.Trusted {
		n, err := enode.Parse(enode.ValidSchemes, url)
		if err != nil {
			p.log.Error("Trusted server is skipped", "url", url, "err", err)
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// addTrusted marks the trusted servers.
func (p *ServerPool) addTrusted(op nodestate.Op) {
	p.mu.Lock()
	nodes := slices.Clone(p.mu.trusted)
	p.mu.Unlock()
	for _, n := range nodes {
		op.SetState(n, p.st.alwaysConnect, none, 0)
	}
}

// release ends a node's wait as soon as it may be given out again.
func (p *ServerPool) release(op nodestate.Op, n *enode.Node) {
	p.mu.Lock()
	p.mu.memory.release(n.ID())
	p.mu.Unlock()
	if h, ok := p.st.history.Get(p.ns, n); ok {
		h.until = 0
		p.st.history.SetIn(op, n, h)
	}
	if op.Machine().GetState(n).HasAll(p.st.redialWait) {
		p.leaveAlone(op, n, 0)
	}
}

// Forget drops everything that is known of a node, in memory at once and in the
// store within a minute: its value, waits, local address and ban. A connected
// server stays connected, as one that nothing is known of, and a trusted one
// stays trusted. Errors: [ErrClosed], and that the store failed, so that some of
// it is still there.
func (p *ServerPool) Forget(id enode.ID) error {
	p.registerMu.Lock()
	defer p.registerMu.Unlock()
	if p.stopping.Load() {
		return ErrClosed
	}
	if err := p.values.Forget(id); err != nil {
		return err
	}
	p.mu.Lock()
	for _, l := range p.ledgers {
		l.remove(id)
	}
	p.mu.notes.remove(id)
	p.mu.acquaintances.remove(id)
	p.mu.replacing.given.remove(id)
	p.mu.Unlock()
	err := p.ns.Operation(func(op nodestate.Op) {
		if n := op.Machine().GetNode(id); n != nil {
			p.forget(op, n)
		}
	})
	switch {
	case errors.Is(err, nodestate.ErrNotStarted):
		return p.store.Delete(append(p.machinePrefix(), id[:]...)) // nothing has read it yet
	case errors.Is(err, nodestate.ErrClosed):
		return ErrClosed
	}
	return err
}

// forget drops what the machine has of a node, but for when it was given out.
func (p *ServerPool) forget(op nodestate.Op, n *enode.Node) {
	h := p.historyOf(n)
	p.st.history.SetIn(op, n, history{given: h.given, isGiven: h.isGiven, inbound: h.inbound})
	p.st.localAddress.ClearIn(op, n)
	p.st.weight.ClearIn(op, n)
	op.SetState(n, none, p.st.hasValue, 0)
	p.part(op, n)
	switch state := op.Machine().GetState(n); {
	case state.HasAll(p.st.connected):
		p.st.connectedStats.SetIn(op, n, p.values.GetNode(n.ID()).RtStats())
	case !state.HasNone(p.st.inDialProcess):
		p.leaveAlone(op, n, 0)
	}
}

func (p *ServerPool) now() moment { return moment{p.unixNow(), p.clock.Now()} }
