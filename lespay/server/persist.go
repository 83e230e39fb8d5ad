package server

import (
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/lespay"
)

const (
	// saveInterval is the time between two saves of all that has changed. Larger,
	// a crash refunds more of what clients have spent; no more than five minutes
	// of it, with what the save takes, are promised.
	saveInterval = 4 * time.Minute

	// cleanInterval is the time between two steps of removing small debts from the
	// store, cleanBatch how many records a step looks at. Longer or smaller, it
	// costs less, and they stay for longer.
	cleanInterval = time.Minute
	cleanBatch    = 1000

	// scanBatch is how many stored balances are added up at a time, while others
	// wait.
	scanBatch = 1000

	// totalLag is how old the sum of all tokens may be. Larger, it costs less to
	// ask for it often.
	totalLag = 10 * time.Second
)

// hold returns the records of the keys, in memory until they are released. It
// reads from the store what is not; see begin.
func (p *ClientPool) hold(keys ...string) []*record {
	held, missing := p.holdKnown(keys)
	if missing {
		p.loadMu.Lock()
		defer p.loadMu.Unlock()
		for i, key := range keys {
			if held[i] == nil {
				held[i] = p.load(key)
			}
		}
	}
	return held
}

func (p *ClientPool) holdKnown(keys []string) (held []*record, missing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held = make([]*record, len(keys))
	for i, key := range keys {
		held[i] = p.mu.ledger.hold(key)
		missing = missing || held[i] == nil
	}
	return held, missing
}

// load reads a balance unless somebody else just did; loadMu is held.
func (p *ClientPool) load(key string) *record {
	p.mu.Lock()
	r := p.mu.ledger.hold(key)
	p.mu.Unlock()
	if r != nil {
		return r
	}
	value, err := p.disk.read(key)
	if err != nil {
		log.Error("Balance cannot be read", "err", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.ledger.put(key, value, err != nil, p.mu.ledger.at(p.cfg.Clock.Now()))
}

func (p *ClientPool) release(held []*record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range held {
		p.mu.ledger.release(r)
	}
}

// save writes all that has changed. What can't be written is tried again at the
// next save.
func (p *ClientPool) save() { p.saveSome(nil) }

// saveSome is save for some records, or for all if there are none.
func (p *ClientPool) saveSome(records []*record) {
	p.saveMu.Lock()
	defer p.saveMu.Unlock()
	p.readMissing()
	p.mu.Lock()
	at := p.mu.ledger.at(p.cfg.Clock.Now())
	var writes []write
	if records == nil {
		writes = p.mu.ledger.collectAll(at)
	} else {
		writes = p.mu.ledger.collect(records, at)
	}
	p.mu.Unlock()
	err := p.disk.commit(writes, at)
	if err != nil {
		log.Error("Balances cannot be stored", "number", len(writes), "err", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.ledger.written(writes, err == nil)
}

// readMissing tries again to read what could not be read but is in use.
func (p *ClientPool) readMissing() {
	p.mu.Lock()
	missing := p.mu.ledger.lost
	p.mu.Unlock()
	for _, r := range missing {
		value, err := p.disk.read(r.key)
		if err != nil {
			log.Error("Balance still cannot be read", "err", err)
			return
		}
		p.mu.Lock()
		now := p.cfg.Clock.Now()
		p.mu.ledger.found(r, value, p.mu.ledger.at(now))
		if p.mu.state == running {
			p.mu.revalueAll(now)
			p.setTimerLocked(now, now) // for the callbacks
		}
		p.mu.Unlock()
	}
}

// addUpTokens makes the total complete: it adds what is stored and not in memory,
// a portion at a time.
func (p *ClientPool) addUpTokens() {
	p.scanMu.Lock()
	defer p.scanMu.Unlock()
	for from, more := "", true; more; more = from != "" {
		p.mu.Lock()
		done := p.mu.ledger.total.done || p.mu.state == stopped
		p.mu.Unlock()
		if done {
			return
		}
		var portion []write
		next, err := p.disk.scan(tokenPrefix, from, scanBatch, func(key string, value lespay.ExpiredValue) bool {
			portion = append(portion, write{key: key, value: value})
			return true
		})
		if err != nil {
			log.Error("Stored balances cannot be added up", "err", err)
			return
		}
		p.mu.Lock()
		at := p.mu.ledger.at(p.cfg.Clock.Now())
		for _, w := range portion {
			p.mu.ledger.total.pass(w.key, plausible(w.key, w.value, at))
		}
		if next == "" {
			p.mu.ledger.total.finish()
		}
		p.mu.Unlock()
		from = next
	}
}

// cleanup is where the removal of small debts has got to.
type cleanup struct {
	prefix, from string
}

// cleanUp looks at the next stored balances and removes those that are worthless.
// As it holds saveMu nothing is written between the look and the removal; what is
// in memory is written again when it changes.
func (p *ClientPool) cleanUp() {
	p.saveMu.Lock()
	defer p.saveMu.Unlock()
	p.mu.Lock()
	at := p.mu.ledger.at(p.cfg.Clock.Now())
	now := p.mu.cleanFrom
	p.mu.Unlock()
	if now.prefix == "" {
		now.prefix = debtPrefix
	}
	var removals []write
	next, err := p.disk.scan(now.prefix, now.from, cleanBatch, func(key string, value lespay.ExpiredValue) bool {
		if worthless(key, plausible(key, value, at), at) {
			removals = append(removals, write{key: key, remove: true})
		}
		return true
	})
	if err == nil && len(removals) > 0 {
		err = p.disk.commit(removals, at)
	}
	if err != nil {
		log.Error("Small debts cannot be removed", "err", err)
		return
	}
	if now.from = next; next == "" {
		now.prefix = map[string]string{debtPrefix: tokenPrefix, tokenPrefix: debtPrefix}[now.prefix]
	}
	p.mu.Lock()
	p.mu.cleanFrom = now
	p.mu.Unlock()
}

// TotalTokenAmount returns the number of tokens that all clients have, connected
// or not. What was spent in the last ten seconds may still be in it.
func (p *ClientPool) TotalTokenAmount() uint64 {
	if p.begin() {
		p.addUpTokens()
		p.busy.Done()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Clock.Now()
	if p.mu.state == running && now.Sub(p.mu.allCharged) >= totalLag {
		p.mu.chargeAll(now)
	}
	return p.mu.ledger.total.value(p.mu.ledger.at(now).pos)
}

// GetPosBalanceIDs returns the ids of clients with tokens, in ascending order from
// start on and below stop, at most maxCount. A stop of zero is no limit.
func (p *ClientPool) GetPosBalanceIDs(start, stop enode.ID, maxCount int) (result []enode.ID) {
	if maxCount <= 0 || !p.begin() {
		return nil
	}
	defer p.busy.Done()
	p.doLocked(func(k *core, now mclock.AbsTime) { k.chargeAll(now) })
	p.save()
	now := p.now()
	_, err := p.disk.scan(tokenPrefix, string(start[:]), -1, func(key string, value lespay.ExpiredValue) bool {
		id := enode.ID([]byte(key[len(tokenPrefix):]))
		if stop != (enode.ID{}) && string(id[:]) >= string(stop[:]) {
			return false
		}
		if !worthless(key, value, now) {
			result = append(result, id)
		}
		return len(result) < maxCount
	})
	if err != nil {
		log.Error("Balances cannot be listed", "err", err)
	}
	return result
}

func (p *ClientPool) now() offsets {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.ledger.at(p.cfg.Clock.Now())
}

// chargeAll charges everybody until now.
func (k *core) chargeAll(now mclock.AbsTime) {
	for c := k.ages.oldest; c != nil; c = c.newer {
		k.charge(c, now)
	}
	k.allCharged = now
}
