package serverpool

import "github.com/ethereum/go-ethereum/common/mclock"

// What the pool does every few seconds.

// setTickLocked sets the timer for the next round of housekeeping.
func (p *ServerPool) setTickLocked() {
	if !p.stopping.Load() {
		p.timers.Add(1)
		p.mu.tick = p.clock.AfterFunc(persistInterval, p.housekeep)
	}
}

// housekeep saves what the pool remembers and, once an update period, brings
// the weights of connected servers up to date.
func (p *ServerPool) housekeep() {
	defer p.timers.Done()
	p.flushLedgers()
	p.mu.Lock()
	p.mu.ticks++
	update := p.mu.ticks%int(updatePeriod/persistInterval) == 0
	p.mu.Unlock()
	if update {
		p.ns.Operation(p.updateConnected)
		p.ns.Operation(p.enforceBans)
		p.sayWhyNone()
	}
	p.raiseFloor()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setTickLocked()
}

func (p *ServerPool) stopHousekeeping() {
	p.mu.Lock()
	for _, t := range []mclock.Timer{p.mu.tick, p.mu.replacing.timer} {
		if t != nil && t.Stop() {
			p.timers.Done()
		}
	}
	p.mu.Unlock()
	p.timers.Wait()
}

// flushLedgers writes what changed in the ledgers.
func (p *ServerPool) flushLedgers() {
	p.ledgerIO.Lock()
	defer p.ledgerIO.Unlock()
	var changes []ledgerChange
	p.mu.Lock()
	for _, l := range p.ledgers {
		changes = append(changes, l.takeDirty()...)
	}
	p.mu.Unlock()
	if err := writeChanges(p.store, changes); err != nil {
		p.log.Error("What is known of nodes could not be saved, will try again", "count", len(changes), "err", err)
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range changes {
			c.of.markDirty(c.id)
		}
	}
}

func (p *ServerPool) loadLedgers() {
	for _, l := range p.ledgers {
		bad, err := l.load(p.store, moment{p.unixNow(), p.clock.Now()})
		if bad > 0 || err != nil {
			p.log.Warn("Some of what is known of nodes could not be read", "count", bad, "err", err)
		}
	}
}
