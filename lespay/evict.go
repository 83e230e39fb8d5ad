package lespay

import (
	"fmt"
	"math"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// evictLocked removes the servers that are worth less than one request, and as
// many of the others, those worth least first, as there are too many. Servers
// that are registered stay, and so do those that are being read. What is left
// of a server is subtracted from the global statistics, of the snapshot too.
// saveMu is held.
func (vt *ValueTracker) evictLocked(snap *snapshot) {
	spent, others := vt.index.candidates(Fixed64(snap.global.LogOffset), vt.cfg.MaxStored)
	if len(spent) == 0 && len(others) == 0 {
		return
	}
	e := eviction{snap: snap, busy: make(chan struct{})}
	e.stats.raise(snap.global.RtStats.exp)
	vt.chooseLocked(&e, spent, others)
	vt.readVictims(&e)

	vt.index.remove(e.ids)
	snap.global.RtStats.SubStats(&e.stats)
	snap.changed = snap.changed || len(e.ids) > 0
	vt.mu.Lock()
	defer vt.mu.Unlock()
	vt.mu.rtStats.SubStats(&e.stats)
	for _, id := range e.held {
		delete(vt.mu.busy, id)
	}
	close(e.busy)
}

// eviction is the work of one round.
type eviction struct {
	snap  *snapshot
	busy  chan struct{}
	held  []enode.ID        // marked busy
	ids   []enode.ID        // removed
	read  []enode.ID        // to be removed when their statistics are read
	stats ResponseTimeStats // the sum over ids
}

// chooseLocked takes the servers that go out of memory and marks them busy;
// saveMu is held, and it takes mu.
func (vt *ValueTracker) chooseLocked(e *eviction, spent, others []candidate) {
	vt.mu.Lock()
	defer vt.mu.Unlock()
	for _, c := range spent {
		vt.takeLocked(e, c)
	}
	for _, c := range others {
		if vt.index.len()-len(e.held) <= vt.cfg.MaxStored {
			break
		}
		vt.takeLocked(e, c)
	}
	if len(e.ids) == 0 {
		return
	}
	gone := make(map[enode.ID]bool, len(e.ids))
	for _, id := range e.ids {
		gone[id] = true
	}
	for i := range e.snap.nodes {
		n := &e.snap.nodes[i]
		n.removed = gone[n.nv.id]
	}
}

// takeLocked takes one server unless something speaks against it.
func (vt *ValueTracker) takeLocked(e *eviction, c candidate) {
	id := c.id
	if vt.mu.busy[id] != nil {
		return
	}
	nv, active := vt.mu.nodes[id]
	if !active {
		nv, _ = vt.mu.cache.Peek(id)
	}
	switch {
	case nv == nil && c.worth == worthless:
		e.ids = append(e.ids, id)
	case nv == nil:
		e.read = append(e.read, id)
	default:
		nv.mu.Lock()
		keep := nv.mu.registered || nv.mu.dirty || nv.mu.unread
		stats := nv.mu.stats
		nv.mu.Unlock()
		if keep {
			return
		}
		e.stats.AddStats(&stats)
		e.ids = append(e.ids, id)
		if active {
			vt.unpinLocked(nv)
		}
		vt.mu.cache.Remove(id)
	}
	e.held = append(e.held, id)
	vt.mu.busy[id] = e.busy
}

// readVictims reads the statistics of those that are not in memory. It needs no
// lock: they are busy. Those that cannot be read stay for now.
func (vt *ValueTracker) readVictims(e *eviction) {
	for i, id := range e.read {
		rec, err := vt.readNode(id, e.snap.maxExp())
		if err != nil {
			vt.report("Servers to be removed cannot be read", "servers", len(e.read)-i, "err", err)
			return
		}
		if rec != nil {
			e.stats.AddStats(&rec.RtStats)
		}
		e.ids = append(e.ids, id)
	}
}

// maxExp returns the exponent of the snapshot's time.
func (s *snapshot) maxExp() uint64 { return Fixed64(s.global.LogOffset).ToUint64() }

// checkLocked panics if the state is not what the code relies on.
func (vt *ValueTracker) checkLocked() {
	if len(vt.mu.nodes) != len(vt.mu.active) {
		panic(fmt.Sprintf("lespay: %d nodes but %d active", len(vt.mu.nodes), len(vt.mu.active)))
	}
	for i, nv := range vt.mu.active {
		if nv.slot != i || vt.mu.nodes[nv.id] != nv || vt.mu.cache.Contains(nv.id) {
			panic(fmt.Sprintf("lespay: server %v is in the wrong place", nv.id))
		}
		nv.mu.Lock()
		if exp := max(nv.mu.stats.exp, nv.mu.basket.Exp); exp > vt.mu.maxExp {
			panic(fmt.Sprintf("lespay: server %v has exponent %d, the present one is %d", nv.id, exp, vt.mu.maxExp))
		}
		nv.mu.Unlock()
	}
	if amount, value := vt.mu.basket.sums(); amount < 1 || math.Abs(value-amount) > amount/100+float64(len(vt.mu.basket.Items)) {
		panic(fmt.Sprintf("lespay: reference basket of %v requests is worth %v", amount, value))
	}
}
