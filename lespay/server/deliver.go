package server

import (
	"github.com/ethereum/go-ethereum/common/mclock"
)

// deliver makes the callbacks that are queued, in order and one at a time. If
// somebody else is at it, that one makes them; then deliver waits for those that
// were queued before the call, if it is told to, and goes on with them if a panic
// has stopped the other one.
func (p *ClientPool) deliver(wait bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	goal := p.mu.delivered + 1 + uint64(len(p.mu.events))
	for {
		switch {
		case p.mu.delivering == nil && len(p.mu.events) == 0:
			return
		case p.mu.delivering == nil:
			p.callNextLocked()
		case wait && p.mu.delivered < goal:
			p.mu.progress.Wait()
		default:
			return
		}
	}
}

// callNextLocked makes the first callback of the queue without the lock, unless its
// peer has left.
func (p *ClientPool) callNextLocked() {
	e := p.mu.events[0]
	if p.mu.events = p.mu.events[1:]; len(p.mu.events) == 0 {
		p.mu.events = nil
	}
	defer func() { // even if the callback panics
		p.mu.delivering = nil
		p.mu.delivered++
		p.mu.progress.Broadcast()
	}()
	p.mu.delivering = &e
	if e.to.left {
		return
	}
	p.mu.Unlock()
	defer p.mu.Lock()
	if e.disconnect {
		e.to.peer.Disconnect()
	} else {
		e.to.peer.UpdateCapacity(e.capacity, e.requested)
	}
}

// setTimerLocked sees to it that tick is called at the given time, or when it is
// time to save or to clean up. A timer that is set for earlier stays.
func (p *ClientPool) setTimerLocked(now, at mclock.AbsTime) {
	at = max(now, min(at, p.mu.saveAt, p.mu.cleanAt))
	if p.mu.timer != nil {
		if p.mu.due <= at {
			return
		}
		if p.mu.timer.Stop() {
			p.busy.Done()
		}
	}
	p.busy.Add(1)
	p.mu.due = at
	p.mu.timer = p.cfg.Clock.AfterFunc(at.Sub(now), func() {
		defer p.busy.Done()
		p.tick(at)
	})
}

// tick does what is due: deadlines of clients and callbacks that nobody made, then
// saving and cleaning up.
func (p *ClientPool) tick(due mclock.AbsTime) {
	p.mu.Lock()
	if p.mu.due == due {
		p.mu.timer = nil
	}
	p.mu.Unlock()
	var save, clean bool
	p.do(false, func(k *core, now mclock.AbsTime) {
		k.advance(now)
		if save = p.mu.saveAt <= now; save {
			p.mu.saveAt = now.Add(saveInterval)
			k.chargeAll(now)
		}
		if clean = p.mu.cleanAt <= now; clean {
			p.mu.cleanAt = now.Add(cleanInterval)
		}
	})
	if save {
		p.save()
	}
	if clean {
		p.cleanUp()
		p.addUpTokens() // if that has failed before
	}
}
