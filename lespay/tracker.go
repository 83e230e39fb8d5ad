package lespay

import (
	"slices"
	"sync"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// ValueTracker knows what service every server has given. Make one with
// [NewValueTracker]. All methods may be called concurrently.
type ValueTracker struct {
	cfg     Config
	records records
	maps    *mappings
	expirer Expirer
	index   *index
	report  func(msg string, ctx ...any) // logs an error

	stop  sync.Once
	loads sync.WaitGroup // reads under way; grows under mu and not after stopped

	saveMu sync.Mutex // held for a whole periodic update, with its I/O
	saver  saver      // guarded by saveMu

	mu struct {
		sync.Mutex
		stopped bool
		timer   mclock.Timer // of the next update, nil if none is due

		// A server in memory is either in nodes and active, if it is registered
		// or has something to save, or in cache.
		nodes  map[enode.ID]*NodeValueTracker
		active []*NodeValueTracker // the same in a repeatable order
		cache  *simplelru.LRU[enode.ID, *NodeValueTracker]
		// busy servers are not in memory and their record is being read or
		// removed; the channel is closed at the end of that.
		busy map[enode.ID]chan struct{}

		rtStats ResponseTimeStats // of all servers, as far as folded
		basket  basket            // the reference basket
		ref     *reference        // its view
		maxExp  uint64            // the exponent of the present; no stored one is larger
		changed bool              // something other than the active servers has to be saved
	}
}

// NewValueTracker loads what was stored and returns a tracker. It starts
// nothing: the periodic update runs from the first Register until Stop. An
// error names the field of the Config that is wrong, or tells that the store
// could not be read; what the store holds may be anything.
func NewValueTracker(cfg Config) (*ValueTracker, error) {
	return newValueTracker(cfg, func(msg string, ctx ...any) { log.Error(msg, ctx...) })
}

func newValueTracker(cfg Config, report func(msg string, ctx ...any)) (*ValueTracker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	vt := &ValueTracker{cfg: cfg, index: newIndex(), report: report}
	vt.records = newMemoryRecords()
	if cfg.Store != nil {
		vt.records = storeRecords{cfg.Store}
	}
	vt.mu.nodes = make(map[enode.ID]*NodeValueTracker)
	vt.mu.busy = make(map[enode.ID]chan struct{})
	vt.mu.cache, err = simplelru.NewLRU[enode.ID, *NodeValueTracker](cfg.CacheSize, nil)
	if err != nil {
		return nil, err
	}
	if err := vt.load(); err != nil {
		return nil, err
	}
	vt.saver.sum.Items = make([]basketItem, len(cfg.Requests))
	return vt, nil
}

// Register tells that a server is connected and returns its tracker. A server
// that is registered already stays so and keeps its cost table. After Stop the
// tracker counts in memory only.
func (vt *ValueTracker) Register(id enode.ID) *NodeValueTracker {
	vt.mu.Lock()
	defer vt.mu.Unlock()
	nv := vt.obtainLocked(id)
	if vt.mu.stopped {
		vt.report("Server registered after the end of value tracking", "server", id)
		return nv
	}
	now := vt.cfg.Clock.Now()
	vt.pinLocked(nv, now)
	nv.mu.Lock()
	defer nv.mu.Unlock()
	if !nv.mu.registered {
		vt.refreshLocked(nv, now)
		nv.mu.connect(now)
	}
	return nv
}

// Unregister tells that a server is no longer connected. What it did is saved
// with the next update. Unknown servers are ignored.
func (vt *ValueTracker) Unregister(id enode.ID) {
	vt.mu.Lock()
	defer vt.mu.Unlock()
	nv := vt.mu.nodes[id]
	if nv == nil {
		return
	}
	nv.mu.Lock()
	nv.mu.registered = false
	saved, unread := !nv.mu.dirty && !nv.mu.saving, nv.mu.unread
	nv.mu.Unlock()
	if saved {
		vt.unpinLocked(nv)
		if !unread {
			vt.mu.cache.Add(id, nv)
		}
	}
}

// GetNode returns the tracker of any server, to look at its statistics. The
// ones used lately are in memory; others are read from the store. Of a server
// that is not known the statistics are empty. If the record cannot be read,
// that is logged, and the statistics are empty too.
func (vt *ValueTracker) GetNode(id enode.ID) *NodeValueTracker {
	vt.mu.Lock()
	defer vt.mu.Unlock()
	return vt.obtainLocked(id)
}

// RtStats returns the answers of all servers, those of this moment included.
func (vt *ValueTracker) RtStats() ResponseTimeStats {
	vt.mu.Lock()
	defer vt.mu.Unlock()
	for _, nv := range vt.mu.active {
		nv.mu.Lock()
		if !nv.mu.unread {
			nv.mu.fold(&vt.mu.rtStats)
		}
		nv.mu.Unlock()
	}
	return vt.mu.rtStats
}

// RequestStats returns the reference basket as of the last update: how much
// each type of request is used at present, and what one request of it is worth.
// The order is that of the request list.
func (vt *ValueTracker) RequestStats() []RequestStatsItem {
	factor := vt.StatsExpFactor()
	vt.mu.Lock()
	defer vt.mu.Unlock()
	res := make([]RequestStatsItem, len(vt.cfg.Requests))
	for i, r := range vt.cfg.Requests {
		amount := float64(vt.mu.basket.Items[i].Amount) / basketUnit
		res[i] = RequestStatsItem{
			Name:      r.Name,
			ReqAmount: factor.Value(amount, vt.mu.basket.Exp),
			ReqValue:  vt.mu.ref.prices[i],
		}
	}
	return res
}

// StatsExpirer returns the log offset of all statistics, for those who keep
// other values that decay with them. It is for reading: setting it would make
// all statistics wrong.
func (vt *ValueTracker) StatsExpirer() *Expirer { return &vt.expirer }

// StatsExpFactor returns the expiration factor of this moment, to read the
// statistics with.
func (vt *ValueTracker) StatsExpFactor() ExpirationFactor {
	return ExpFactor(vt.expirer.LogOffset(vt.cfg.Clock.Now()))
}

// Stop saves everything and ends the tracker. It waits for I/O that is under
// way; when it returns nothing touches the store any more. Later calls wait for
// the first one and do nothing. What is still counted is kept in memory only,
// with one error logged per server.
func (vt *ValueTracker) Stop() {
	vt.stop.Do(func() {
		vt.mu.Lock()
		vt.mu.stopped = true
		if vt.mu.timer != nil {
			vt.mu.timer.Stop()
		}
		vt.mu.Unlock()
		vt.loads.Wait()
		vt.saveMu.Lock()
		defer vt.saveMu.Unlock()
		vt.saveLocked(true)
	})
}

// obtainLocked returns the one tracker of a server. One that is not in memory
// is made from its record and put into the cache; mu is released meanwhile, and
// held again from then on. A tracker whose record could not be read is unread,
// and nowhere if the caller does not pin it.
func (vt *ValueTracker) obtainLocked(id enode.ID) *NodeValueTracker {
	for {
		if nv, ok := vt.mu.nodes[id]; ok {
			return nv
		}
		if nv, ok := vt.mu.cache.Get(id); ok {
			return nv
		}
		busy := vt.mu.busy[id]
		if busy == nil {
			break
		}
		vt.mu.Unlock()
		<-busy
		vt.mu.Lock()
	}
	nv := vt.newNodeLocked(id)
	if !vt.mu.stopped && vt.index.has(id) {
		if rec, err := vt.readLocked(id); err != nil {
			vt.report("Server statistics cannot be read", "server", id, "err", err)
			nv.mu.unread = true
			return nv
		} else if rec != nil {
			nv.mu.stats, nv.mu.basket = rec.RtStats, rec.Basket
		}
	}
	vt.mu.cache.Add(id, nv)
	return nv
}

// readLocked reads the record of a server that is neither in memory nor busy.
// It releases mu meanwhile; others who want the server wait.
func (vt *ValueTracker) readLocked(id enode.ID) (*nodeRecord, error) {
	busy := make(chan struct{})
	vt.mu.busy[id] = busy
	vt.loads.Add(1)
	limit := vt.mu.maxExp
	vt.mu.Unlock()
	defer func() { // even if the store panics
		vt.mu.Lock()
		vt.loads.Done()
		delete(vt.mu.busy, id)
		close(busy)
	}()
	return vt.readNode(id, limit)
}

// newNodeLocked makes an empty tracker.
func (vt *ValueTracker) newNodeLocked(id enode.ID) *NodeValueTracker {
	types := len(vt.cfg.Requests)
	nv := &NodeValueTracker{vt: vt, id: id, slot: -1}
	nv.mu.types = make([]tally, types)
	nv.mu.basket.Items = make([]basketItem, types)
	nv.mu.adopt(ExpirationFactor{Exp: vt.mu.maxExp, Factor: 1}, vt.mu.ref)
	return nv
}

// refreshLocked gives a tracker the present expiration factor and prices; mu
// and nv.mu are held.
func (vt *ValueTracker) refreshLocked(nv *NodeValueTracker, now mclock.AbsTime) {
	if nv.mu.unread && nv.mu.counted {
		return // cannot be folded yet
	}
	nv.mu.fold(&vt.mu.rtStats)
	nv.mu.adopt(vt.factorLocked(now), vt.mu.ref)
}

// factorLocked returns the expiration factor at now.
func (vt *ValueTracker) factorLocked(now mclock.AbsTime) ExpirationFactor {
	factor := ExpFactor(vt.expirer.LogOffset(now))
	vt.mu.maxExp = max(vt.mu.maxExp, factor.Exp)
	return factor
}

// pinLocked makes a tracker active, whatever it was before.
func (vt *ValueTracker) pinLocked(nv *NodeValueTracker, now mclock.AbsTime) {
	if nv.slot < 0 {
		vt.mu.cache.Remove(nv.id)
		vt.mu.nodes[nv.id] = nv
		nv.slot = len(vt.mu.active)
		vt.mu.active = append(vt.mu.active, nv)
		nv.mu.Lock()
		nv.mu.since = now
		nv.mu.Unlock()
	}
	vt.armLocked()
}

// unpinLocked takes a tracker out of the active ones.
func (vt *ValueTracker) unpinLocked(nv *NodeValueTracker) {
	last := len(vt.mu.active) - 1
	vt.mu.active[last].slot = nv.slot
	vt.mu.active[nv.slot] = vt.mu.active[last]
	vt.mu.active = slices.Delete(vt.mu.active, last, last+1)
	nv.slot = -1
	delete(vt.mu.nodes, nv.id)
}

// armLocked sets the timer of the next update if one is needed.
func (vt *ValueTracker) armLocked() {
	if vt.mu.timer == nil && !vt.mu.stopped && len(vt.mu.active) > 0 {
		vt.mu.timer = vt.cfg.Clock.AfterFunc(vt.cfg.UpdatePeriod, vt.update)
	}
}

// countUnregistered counts an outcome at a server that is not registered; nv is
// what the caller holds, which may be out of date.
func (vt *ValueTracker) countUnregistered(nv *NodeValueTracker, reqs []ServedRequest, pos float64, served bool) {
	nv.mu.Lock()
	complain := nv.mu.firstTime(misuseUnregistered)
	nv.mu.Unlock()
	if complain {
		vt.reportUnregistered(nv.id)
	}
	vt.mu.Lock()
	defer vt.mu.Unlock()
	now := vt.cfg.Clock.Now()
	cur := vt.obtainLocked(nv.id)
	if !vt.mu.stopped {
		vt.pinLocked(cur, now)
	}
	cur.mu.Lock()
	defer cur.mu.Unlock()
	if !cur.mu.registered {
		vt.refreshLocked(cur, now)
	}
	if !cur.mu.add(reqs, pos, served) && cur.mu.firstTime(misuseType) {
		vt.reportType(cur.id)
	}
}

func (vt *ValueTracker) reportType(id enode.ID) {
	vt.report("Unknown request type", "server", id, "types", len(vt.cfg.Requests))
}

func (vt *ValueTracker) reportUnregistered(id enode.ID) {
	vt.report("Counting for a server that is not registered", "server", id)
}
