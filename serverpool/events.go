package serverpool

import (
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Events are functions that are told what the pool does; nil ones are skipped.
//
// They are called on a goroutine of the pool, one at a time, in the order in
// which things happened, and outside of all its locks and operations: by then
// more may have happened. They may call any method of the pool, except that Stop
// waits half a second for its own caller there. One that takes its time delays
// those after it and nothing else: up to 4,096 calls wait, further ones are lost
// and counted in [Status.EventsLost]. One that panics is logged. Stop waits for
// what is left to be told for half a second; what is left then is dropped.
type Events struct {
	// Found is told of a node that was not seen before, or not among the latest
	// 16,384, and which source brought it. It is not asked or dialed yet.
	Found func(n *enode.Node, source string)
	// Asked is told of a capacity query that was sent.
	Asked func(n *enode.Node)
	// Answered is told of its outcome, Silent if there was no answer in time.
	Answered func(n *enode.Node, answer Answer)
	// Dialed is told of a dial that begins; without [ServerPool.Dialer], of a
	// node that is given out.
	Dialed func(n *enode.Node)
	// Refused is told of a dial that led to no registered server, and why.
	Refused func(n *enode.Node, reason string)
	// Connected is told of a server that was registered.
	Connected func(n *enode.Node)
	// Dropped is told of a server that was unregistered. The reason is why the
	// pool had asked for that, nil if it had not.
	Dropped func(n *enode.Node, reason error)
	// Banned is told of a ban that was set.
	Banned func(n *enode.Node, ban BanInfo)
}

// The functions below note what happens to a node and tell the application.

func (p *ServerPool) tellFoundLocked(n *enode.Node, source string) {
	if f := p.cfg.Events.Found; f != nil {
		p.delivery.post(func() { f(n, source) })
	}
}

func (p *ServerPool) tellAskedLocked(n *enode.Node) {
	p.mu.notes.set(n.ID(), outcomeAsked, "")
	if f := p.cfg.Events.Asked; f != nil {
		p.delivery.post(func() { f(n) })
	}
}

// tellAnsweredLocked is told whether the node is a candidate now.
func (p *ServerPool) tellAnsweredLocked(n *enode.Node, answer Answer, ok bool) {
	o := outcomeSilent
	switch {
	case ok:
		o = outcomeCandidate
	case answer == Yes:
		o = outcomeNotBelieved
	case answer == No:
		o = outcomeFull
	default:
		answer = Silent
	}
	m := p.mu.notes.set(n.ID(), o, "")
	m.answer, m.asked = answer, true
	if f := p.cfg.Events.Answered; f != nil {
		p.delivery.post(func() { f(n, answer) })
	}
}

func (p *ServerPool) tellDialedLocked(n *enode.Node) {
	p.mu.notes.set(n.ID(), outcomeDialed, "")
	if f := p.cfg.Events.Dialed; f != nil {
		p.delivery.post(func() { f(n) })
	}
}

func (p *ServerPool) tellRefused(n *enode.Node, o outcome, err error) {
	detail := textOf(err)
	p.note(n.ID(), o, detail)
	if f := p.cfg.Events.Refused; f != nil {
		reason := (&note{outcome: o, detail: detail}).text()
		p.delivery.post(func() { f(n, reason) })
	}
}

func (p *ServerPool) tellConnected(n *enode.Node) {
	p.note(n.ID(), outcomeConnected, "")
	if f := p.cfg.Events.Connected; f != nil {
		p.delivery.post(func() { f(n) })
	}
}

func (p *ServerPool) tellDropped(n *enode.Node, reason error) {
	p.note(n.ID(), outcomeLeft, textOf(reason))
	if f := p.cfg.Events.Dropped; f != nil {
		p.delivery.post(func() { f(n, reason) })
	}
}

func (p *ServerPool) tellBanned(n *enode.Node, info BanInfo) {
	p.note(n.ID(), outcomeBanned, info.Reason)
	if f := p.cfg.Events.Banned; f != nil {
		p.delivery.post(func() { f(n, info) })
	}
}

// textOf returns a short text of an error, empty for none.
func textOf(err error) string {
	if err == nil {
		return ""
	}
	return shortText(err.Error())
}

// disconnectAsked asks the application to drop a connected server, and keeps why.
func (p *ServerPool) disconnectAsked(n *enode.Node, reason error) {
	p.mu.Lock()
	s := p.mu.sessions[n.ID()]
	if s != nil {
		s.askedToGo = reason
	}
	p.mu.Unlock()
	if s != nil {
		p.askToLeave(n, reason)
	}
}
