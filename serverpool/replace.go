package serverpool

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/lespay"
)

// This file replaces servers that choose.go finds not good enough: it looks for a
// candidate first, and asks the application to drop the server when there is one.

// ErrReplaced is the reason given to Config.Disconnect for a server in whose
// place a better one is likely.
var ErrReplaced = errors.New("serverpool: a better server is likely")

// chooseInterval is how often connected servers are judged. More judges later,
// less computes more.
const chooseInterval = 5 * time.Second

// searchRate is how many candidates a second, on average, are tried in order to
// replace a server, and searchBurst how many at once after a quiet time. More
// finds better servers sooner, less sends fewer queries.
const (
	searchRate  = 1.0 / 40
	searchBurst = 400
)

// blindRate is how many servers a second, on average, are dropped where servers are
// dialed unasked: then there is none at hand that has promised room, and dials find
// out who has. More finds better servers sooner, less wastes fewer dials.
const blindRate = 1.0 / (2 * 60 * 60)

// blindStart is how long after a start none is dropped so. By then those that were
// found full at first may have room again.
const blindStart = 30 * time.Minute

// enoughSayNo is how many servers the pool wants to know that say no at times, so
// that their yes can be trusted, before it asks no more strangers in order to
// replace a server. More has more to choose from, less asks fewer.
const enoughSayNo = 150

// searchRest is how long a server is not asked again in order to replace another.
// More asks fewer twice for nothing, less knows sooner that there is room.
const searchRest = time.Minute

// noBetterWait is how long a known server is left alone that is not better than
// those connected. More spares the pool from looking at it again, less has it at
// hand sooner when one is missing.
const noBetterWait = 2 * time.Minute

// dropAgain is when a server that should have gone is asked once more.
const dropAgain = time.Minute

// replacing is what the pool knows of the servers that it judges. The pool's
// mutex guards it.
type replacing struct {
	chooser
	leaving enode.ID // is to be replaced, if isSet
	isSet   bool
	timer   mclock.Timer
	// given is what known servers gave, in their last session or in earlier runs.
	given *recent[float64]
}

// noteGivenLocked remembers what a server gave.
func (r *replacing) noteGivenLocked(id enode.ID, t tally) {
	if t.enough() {
		*r.given.latest(id) = t.mean()
	}
}

// judged is what a session is judged by.
type judged struct {
	tally
	seen    lespay.ResponseTimeStats // what is in the tally
	since   mclock.AbsTime           // begin of the session
	at      mclock.AbsTime           // of the tally
	asked   bool                     // to go
	askedAt mclock.AbsTime
}

// judge brings the tally up to date.
func (j *judged) judge(now mclock.AbsTime, stats lespay.ResponseTimeStats, factor lespay.ExpirationFactor) {
	j.decay(now.Sub(j.at))
	j.at = now
	fresh := stats
	fresh.SubStats(&j.seen)
	j.add(fresh.Distribution(false, factor))
	j.seen = stats
}

// setChooseTimerLocked has the servers judged once in a while, if the
// application lets the pool choose.
func (p *ServerPool) setChooseTimerLocked() {
	if p.cfg.Disconnect != nil && !p.stopping.Load() {
		p.timers.Add(1)
		p.mu.replacing.timer = p.clock.AfterFunc(chooseInterval, p.choose)
	}
}

// choose judges the connected servers and decides which one is to be replaced.
func (p *ServerPool) choose() {
	defer p.timers.Done()
	p.mu.Lock()
	p.judgeLocked()
	p.retargetLocked()
	p.setChooseTimerLocked()
	p.mu.Unlock()
	p.replace()
}

func (p *ServerPool) judgeLocked() {
	now, factor := p.clock.Now(), p.values.StatsExpFactor()
	r := &p.mu.replacing
	ids := make([]enode.ID, 0, len(p.mu.sessions))
	for id := range p.mu.sessions {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareIDs)
	seats := make([]seated, len(ids))
	for i, id := range ids {
		s := p.mu.sessions[id]
		s.judge(now, s.tracker.RtStats(), factor)
		n := p.ns.GetNode(id)
		stays := n == nil || p.ns.GetState(n).HasAll(p.st.alwaysConnect) || s.asked && now.Sub(s.askedAt) < dropAgain
		seats[i] = seated{s.tally, s.since, stays}
	}
	worst := r.worst(now, seats)
	if r.isSet = worst >= 0; r.isSet {
		r.leaving = ids[worst]
	}
}

// toReplace tells whether a server is to be replaced when a candidate is at hand.
func (p *ServerPool) toReplace() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.replacing.isSet
}

// replace asks the application to drop the server that is to go, if the wanted number
// is there and the next one is at hand; or, where nobody can promise room, if there are
// others to try.
func (p *ServerPool) replace() {
	ready, others := p.ready.len() > 0, p.mix.ready()
	p.mu.Lock()
	r := &p.mu.replacing
	count := len(p.mu.sessions)
	s := p.mu.sessions[r.leaving]
	now := p.clock.Now()
	enough := count > p.cfg.Wanted || count == p.cfg.Wanted && ready
	if !r.isSet || s == nil || !enough && !(count == p.cfg.Wanted && others && p.mayDropBlindLocked(now)) {
		p.mu.Unlock()
		return
	}
	r.isSet = false
	r.drop(now)
	s.asked, s.askedAt = true, now
	leaving := r.leaving
	p.retargetLocked()
	p.mu.Unlock()
	if n := p.ns.GetNode(leaving); n != nil {
		p.disconnectAsked(n, ErrReplaced)
	}
}

// mayDropBlindLocked tells whether a server may go although no other one has promised
// room, and counts it.
func (p *ServerPool) mayDropBlindLocked(now mclock.AbsTime) bool {
	if !p.blindLocked() || len(p.mu.dials) > 0 || p.mu.blind.wait(now) > 0 {
		return false
	}
	p.mu.blind.take(now)
	return true
}

// gaveTooLittleLocked tells whether a known server gave less than a place should give,
// and there is time to find a better one.
func (p *ServerPool) gaveTooLittleLocked(n *enode.Node, now mclock.AbsTime) bool {
	given := p.mu.replacing.given.get(n.ID())
	if given == nil || *given >= p.mu.replacing.limit || p.hurryLocked() {
		return false
	}
	enough := choosy
	if p.blindLocked() {
		enough = patient // a dial takes longer than a query
	}
	return p.demandLocked(now).since < enough
}

// mayReplaceLocked tells whether it makes sense to ask a node in order to replace
// a server: its promise would be believed, and nothing that is known of it says that
// it is no better, or that it would be the next one to be replaced.
func (p *ServerPool) mayReplaceLocked(n *enode.Node) bool {
	c, _ := p.mu.conducts.get(n.ID())
	switch {
	case c.heard != 0 && p.clock.Now().Sub(c.heard) < searchRest:
		return false
	case c.mute() || !p.pathLocked(n.IP()).works():
		return false
	case c.trust(&p.mu.strangers) >= barReplace:
	case c.stranger() && p.mu.sayNo < enoughSayNo:
		return true // its yes will not do, but a no makes it known
	default:
		return false
	}
	s := p.mu.sessions[p.mu.replacing.leaving]
	if s == nil {
		return true
	}
	best := scoreOf(c.rtt)
	if given := p.mu.replacing.given.get(n.ID()); given != nil {
		best = *given
	}
	return best > max(s.mean()+minGain, p.mu.replacing.limit)
}

// askToLeave asks the application to drop a server, if it has given a way to do
// so.
func (p *ServerPool) askToLeave(n *enode.Node, reason error) {
	if p.cfg.Disconnect == nil {
		return
	}
	p.calls.run(func() {
		defer func() {
			if v := recover(); v != nil {
				p.log.Error("Disconnect panicked", "id", n.ID(), "panic", v)
			}
		}()
		p.cfg.Disconnect(n, reason)
	})
}

// sessionEnds learns from a session and returns the least wait that follows.
func (p *ServerPool) sessionEnds(id enode.ID) time.Duration {
	now, factor := p.clock.Now(), p.values.StatsExpFactor()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.mu.sessions[id]
	if s == nil {
		return 0
	}
	s.judge(now, s.tracker.RtStats(), factor)
	p.mu.replacing.ended(s.tally, now.Sub(s.since), s.asked)
	if p.cfg.Disconnect == nil {
		p.mu.replacing.setLimit(nil)
	}
	p.mu.replacing.noteGivenLocked(id, s.tally)
	if s.asked {
		return dropWait
	}
	return 0
}

// SetDisconnect lets a pool of NewServerPool replace servers: wanted is how many
// the application would like to have (0: as it was), f is Config.Disconnect. It
// has to be called before Start.
func (p *ServerPool) SetDisconnect(wanted int, f func(n *enode.Node, reason error)) {
	p.registerMu.Lock()
	defer p.registerMu.Unlock()
	if p.isStarted() {
		p.log.Error("SetDisconnect after Start has no effect")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if wanted > 0 {
		p.cfg.Wanted = wanted
	}
	p.cfg.Disconnect = f
}

func compareIDs(a, b enode.ID) int { return bytes.Compare(a[:], b[:]) }

// rememberGiven tells the chooser what a known server gave in earlier runs.
func (p *ServerPool) rememberGiven(n *enode.Node) {
	var t tally
	t.add(p.values.GetNode(n.ID()).RtStats().Distribution(false, p.values.StatsExpFactor()))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.replacing.note(t)
	p.mu.replacing.noteGivenLocked(n.ID(), t)
}
