package server

import (
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/lespool/lespool/internal/invariants"
	"github.com/lespool/lespool/lespay"
)

// record is a balance in memory, tokens of a node or debt of a free client id.
type record struct {
	key string
	balance
	holders int  // clients and operations that use it
	dirty   bool // it differs from what is stored, or may
	unread  bool // the store could not be read: this is what was added since
}

// ledger is the balances in memory, and the sum of all tokens. A record that is
// held or has to be written stays; of the others the latest stay. There is one
// record for a key, so that all who have the same debt add to the same one.
//
// It does no I/O: what is missing is read by others and put in, and what has
// changed is collected to be written. It is not safe for concurrent use.
type ledger struct {
	used  map[string]*record // held or dirty
	idle  *simplelru.LRU[string, *record]
	dirty []*record // in the order in which they became so, and some that were
	lost  []*record // those in used that could not be read
	decays
	total tokenTotal
}

func newLedger(cacheSize int) *ledger {
	l := &ledger{used: make(map[string]*record), total: newTokenTotal()}
	l.idle, _ = simplelru.NewLRU[string, *record](cacheSize, nil) // fails for no positive size
	return l
}

// hold returns the record of a key, nil if it is not in memory. It stays there
// until it is released as often.
func (l *ledger) hold(key string) *record {
	r := l.used[key]
	if r == nil {
		if r, _ = l.idle.Get(key); r == nil {
			return nil
		}
		l.idle.Remove(key)
		l.used[key] = r
	}
	r.holders++
	return r
}

// peek returns the record of a key if it is in memory.
func (l *ledger) peek(key string) *record {
	if r := l.used[key]; r != nil {
		return r
	}
	r, _ := l.idle.Peek(key)
	return r
}

// put takes in what was read of a key that is not in memory, and holds it. unread
// tells that it could not be read.
func (l *ledger) put(key string, value lespay.ExpiredValue, unread bool, now offsets) *record {
	r := &record{key: key, holders: 1, unread: unread}
	r.ExpiredValue = plausible(key, value, now)
	l.used[key] = r
	if unread {
		l.lost = append(l.lost, r)
	} else if !isDebt(key) && !r.IsZero() {
		l.total.meet(key, r.ExpiredValue)
	}
	return r
}

// plausible returns a stored value with an exponent that is not ahead of the
// present one, as it is after the loss of the stored offset.
func plausible(key string, value lespay.ExpiredValue, now offsets) lespay.ExpiredValue {
	limit := now.pos
	if isDebt(key) {
		limit = now.neg
	}
	value.Exp = min(value.Exp, limit.ToUint64())
	return value
}

func (l *ledger) release(r *record) {
	r.holders--
	if invariants.Enabled && r.holders < 0 {
		panic("server: a balance is released too often")
	}
	l.settle(r)
}

// settle moves a record that nobody needs to the idle ones.
func (l *ledger) settle(r *record) {
	if r.holders > 0 || r.dirty {
		return
	}
	delete(l.used, r.key)
	if r.unread {
		l.forgetLost(r)
	} else {
		l.idle.Add(r.key, r)
	}
}

// changed has to be called after every change of a held record, with the value
// that it had before.
func (l *ledger) changed(r *record, before lespay.ExpiredValue) {
	if r.ExpiredValue == before {
		return
	}
	if !isDebt(r.key) {
		if before.IsZero() && !r.unread {
			l.total.meet(r.key, before) // will be stored, and must not be counted then
		}
		l.total.remove(before)
		l.total.add(r.ExpiredValue)
	}
	l.touch(r)
}

func (l *ledger) touch(r *record) {
	if !r.dirty {
		r.dirty = true
		l.dirty = append(l.dirty, r)
	}
}

func (l *ledger) forgetLost(r *record) {
	l.lost = slices.DeleteFunc(slices.Clone(l.lost), func(other *record) bool { return other == r })
}

// found adds what was stored all the time to a record that could not be read.
func (l *ledger) found(r *record, stored lespay.ExpiredValue, now offsets) {
	if !r.unread {
		return
	}
	l.forgetLost(r)
	r.unread = false
	stored = plausible(r.key, stored, now)
	since := r.ExpiredValue
	r.AddExp(stored)
	if !isDebt(r.key) {
		l.total.meet(r.key, stored)
		l.total.remove(stored)
		l.total.remove(since)
		l.total.add(r.ExpiredValue)
	}
}

// collectAll returns all that has to be written, as of now. The records are held
// until written is called.
func (l *ledger) collectAll(now offsets) []write {
	list := l.dirty
	l.dirty = nil
	writes := l.collect(list, now)
	for _, r := range list {
		if r.dirty {
			l.dirty = append(l.dirty, r)
		}
	}
	return writes
}

// collect is collectAll for some records.
func (l *ledger) collect(list []*record, now offsets) (writes []write) {
	for _, r := range list {
		if r.dirty && !r.unread {
			r.dirty = false
			r.holders++
			writes = append(writes, write{record: r, key: r.key, value: r.ExpiredValue, remove: r.worthless(now)})
		}
	}
	return writes
}

// written tells what became of the writes.
func (l *ledger) written(writes []write, ok bool) {
	for _, w := range writes {
		if !ok {
			l.touch(w.record)
		}
		l.release(w.record)
	}
}

// worthless tells whether a balance need not be stored. Tokens always are.
func (r *record) worthless(now offsets) bool {
	return worthless(r.key, r.ExpiredValue, now)
}

func worthless(key string, value lespay.ExpiredValue, now offsets) bool {
	if isDebt(key) {
		return value.Value(now.neg) <= smallDebt
	}
	return value.Value(now.pos) == 0
}
