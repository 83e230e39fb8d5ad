package lespay

import (
	"math"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/invariants"
)

// sweepPeriods is after how many updates the stored servers are looked through
// for worthless ones although nothing calls for it. Growing it saves some 100
// µs each time, and such records stay longer.
const sweepPeriods = 60

// saver is what the periodic update keeps between two runs.
type saver struct {
	rounds uint
	nodes  []nodeSnapshot // reused
	items  []basketItem   // behind the baskets in nodes, reused
	sum    basket         // of what servers moved, reused
}

// nodeSnapshot is what is to be stored of a server.
type nodeSnapshot struct {
	nv      *NodeValueTracker
	rec     nodeRecord
	removed bool // it went instead of being stored
}

// snapshot is a state of everything, at one moment.
type snapshot struct {
	nodes   []nodeSnapshot
	idle    bool // some of the nodes are not registered
	changed bool // the global record differs from the stored one
	global  globalRecord
}

// update is the periodic update; it runs on the clock's goroutine.
func (vt *ValueTracker) update() {
	vt.saveMu.Lock()
	defer vt.saveMu.Unlock()
	vt.mu.Lock()
	stopped := vt.mu.stopped
	vt.mu.Unlock()
	if stopped {
		return
	}
	vt.saveLocked(false)
	vt.mu.Lock()
	defer vt.mu.Unlock()
	vt.mu.timer = nil
	vt.armLocked()
}

// saveLocked brings everything up to date and writes what has changed in one
// batch; saveMu is held, and mu is not while there is I/O or encoding. The
// final save always writes the global record.
func (vt *ValueTracker) saveLocked(final bool) {
	vt.readMissingLocked()
	snap := vt.collectLocked(final)
	for i := range snap.nodes {
		n := &snap.nodes[i]
		rank, total := n.rec.RtStats.weightLog2()
		vt.index.put(n.nv.id, worth{rank, total})
	}
	vt.saver.rounds++
	if final || snap.idle || vt.saver.rounds%sweepPeriods == 0 || vt.index.len() > vt.cfg.MaxStored {
		vt.evictLocked(snap)
	}
	doomed := vt.index.doomed()
	if !final && !snap.changed && len(snap.nodes) == 0 && len(doomed) == 0 {
		return
	}
	err := vt.write(snap, doomed)
	if err != nil {
		vt.report("Service statistics cannot be saved", "servers", len(snap.nodes), "err", err)
	} else {
		vt.index.deleted(doomed)
	}
	vt.settle(snap, err == nil)
}

// write encodes a snapshot and commits it together with the deletions.
func (vt *ValueTracker) write(snap *snapshot, doomed []enode.ID) error {
	puts := make([]record, 0, len(snap.nodes)+1)
	puts = append(puts, record{vt.globalKey(), encodeGlobal(&snap.global, vt.maps.order)})
	for i := range snap.nodes {
		if n := &snap.nodes[i]; !n.removed {
			puts = append(puts, record{vt.nodeKey(n.nv.id), encodeNode(&n.rec, vt.maps.order)})
		}
	}
	deletes := make([][]byte, len(doomed))
	for i, id := range doomed {
		deletes[i] = vt.nodeKey(id)
	}
	return vt.records.commit(puts, deletes)
}

// settle takes note of what was saved, or that it could not be.
func (vt *ValueTracker) settle(snap *snapshot, saved bool) {
	vt.mu.Lock()
	defer vt.mu.Unlock()
	vt.mu.changed = vt.mu.changed || !saved
	for i := range snap.nodes {
		nv := snap.nodes[i].nv
		if snap.nodes[i].removed {
			continue
		}
		nv.mu.Lock()
		nv.mu.dirty, nv.mu.saving = nv.mu.dirty || !saved, false
		done := !nv.mu.registered && !nv.mu.dirty
		nv.mu.Unlock()
		if done {
			vt.unpinLocked(nv)
			vt.mu.cache.Add(nv.id, nv)
		}
	}
}

// readMissingLocked tries again to read the records of active servers that
// could not be read before; saveMu is held.
func (vt *ValueTracker) readMissingLocked() {
	var missing []*NodeValueTracker
	vt.mu.Lock()
	limit := vt.mu.maxExp
	for _, nv := range vt.mu.active {
		nv.mu.Lock()
		if nv.mu.unread {
			missing = append(missing, nv)
		}
		nv.mu.Unlock()
	}
	vt.mu.Unlock()
	for i, nv := range missing {
		rec, err := vt.readNode(nv.id, limit)
		if err != nil {
			vt.report("Server statistics still cannot be read", "server", nv.id, "servers", len(missing)-i, "err", err)
			return
		}
		if rec == nil {
			rec = new(nodeRecord)
		}
		nv.mu.Lock()
		nv.mu.merge(&rec.RtStats, rec.Basket)
		nv.mu.Unlock()
	}
}

// collectLocked moves what the active servers did to the global state, tells
// them the new reference values, and returns copies of all that has to be
// saved; saveMu is held, which guards the copies. After a final one nobody is
// registered any more.
func (vt *ValueTracker) collectLocked(final bool) *snapshot {
	vt.mu.Lock()
	defer vt.mu.Unlock()
	now := vt.cfg.Clock.Now()
	factor := vt.factorLocked(now)
	vt.gatherLocked(now, final)

	snap := &snapshot{nodes: vt.saver.nodes[:0]}
	vt.saver.items = vt.saver.items[:0]
	for _, nv := range vt.mu.active {
		nv.mu.Lock()
		if !nv.mu.unread {
			nv.mu.adopt(factor, vt.mu.ref)
			if nv.mu.dirty {
				snap.nodes = append(snap.nodes, vt.snapshotLocked(nv))
				snap.idle = snap.idle || !nv.mu.registered
				nv.mu.dirty, nv.mu.saving = false, true
			}
		}
		nv.mu.Unlock()
	}
	vt.saver.nodes = snap.nodes
	snap.changed = vt.mu.changed
	vt.mu.changed = false
	snap.global = globalRecord{
		Mappings:   vt.maps.lists,
		RefMapping: uint64(vt.maps.current),
		RefBasket:  vt.mu.basket.clone(),
		RtStats:    vt.mu.rtStats,
		LogOffset:  uint64(max(vt.expirer.LogOffset(now), 0)),
		SavedAt:    unixNano(vt.cfg.WallClock()),
	}
	if invariants.Enabled {
		vt.checkLocked()
	}
	return snap
}

// gatherLocked folds the active servers' answers into the global statistics
// and moves a share of their baskets to the reference basket.
func (vt *ValueTracker) gatherLocked(now mclock.AbsTime, final bool) {
	sum := &vt.saver.sum
	clear(sum.Items)
	sum.Exp = vt.mu.maxExp
	moved := false
	share := shareFunc(vt.cfg.TransferRate)
	for _, nv := range vt.mu.active {
		nv.mu.Lock()
		if !nv.mu.unread {
			nv.mu.fold(&vt.mu.rtStats)
			if nv.mu.basket.drain(share(time.Duration(now-nv.mu.since)), vt.mu.ref, sum) {
				nv.mu.dirty = true
				moved = true
			}
			nv.mu.since = now
		}
		nv.mu.registered = nv.mu.registered && !final
		nv.mu.Unlock()
	}
	if !moved {
		return
	}
	b := &vt.mu.basket
	b.raiseReference(sum.Exp)
	for i, it := range sum.Items {
		b.Items[i].add(it.Amount, it.Value)
	}
	b.normalize()
	vt.mu.ref = b.view()
	vt.mu.changed = true
}

// shareFunc returns the share 1 − e^(−rate·dt) as a function that knows its
// last result: most servers ask for the same dt.
func shareFunc(rate float64) func(time.Duration) float64 {
	var last time.Duration
	var share float64
	return func(dt time.Duration) float64 {
		if dt != last {
			last, share = dt, 0
			if dt > 0 {
				share = -math.Expm1(-rate * float64(dt))
			}
		}
		return share
	}
}

// snapshotLocked copies what is to be stored of a server; mu, nv.mu and saveMu
// are held.
func (vt *ValueTracker) snapshotLocked(nv *NodeValueTracker) nodeSnapshot {
	from := len(vt.saver.items)
	vt.saver.items = append(vt.saver.items, nv.mu.basket.Items...)
	return nodeSnapshot{nv: nv, rec: nodeRecord{
		RtStats: nv.mu.stats,
		Mapping: uint64(vt.maps.current),
		Basket:  basket{Items: vt.saver.items[from:len(vt.saver.items):len(vt.saver.items)], Exp: nv.mu.basket.Exp},
	}}
}
