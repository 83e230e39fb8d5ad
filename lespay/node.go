package lespay

import (
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// NodeValueTracker measures one server. [ValueTracker.Register] gives the one
// of a connected server and [ValueTracker.GetNode] that of any.
//
// All methods may be called concurrently. They never touch the store, except
// that counting for a server that is not registered may read its record: that
// is a mistake of the caller, logged once, and what can be counted is counted.
type NodeValueTracker struct {
	vt   *ValueTracker
	id   enode.ID
	slot int // index in vt.mu.active, -1 if not there; guarded by vt.mu

	mu struct {
		sync.Mutex
		nodeState
	}
}

// misuse is a set of mistakes that are logged once per server.
type misuse uint8

const (
	misuseType misuse = 1 << iota
	misuseTable
	misuseUnregistered
)

// UpdateCosts tells what the server charges for one request of each type, in
// the order of the request list. The table comes from the server and may be
// anything: surplus entries are ignored, and types without an entry are taken
// to be priced as elsewhere. The slice is copied.
func (nv *NodeValueTracker) UpdateCosts(costs []uint64) {
	nv.mu.Lock()
	types := len(nv.mu.types)
	misfit := len(costs) != types && nv.mu.firstTime(misuseTable)
	unregistered := !nv.mu.registered && nv.mu.firstTime(misuseUnregistered)
	nv.mu.setCosts(costs)
	nv.mu.Unlock()
	if misfit {
		nv.vt.report("Cost table does not fit the request list", "server", nv.id, "costs", len(costs), "types", types)
	}
	if unregistered {
		nv.vt.reportUnregistered(nv.id)
	}
}

// Served counts requests that were answered by one reply, respTime after they
// were sent. Call it when the answer has been verified, and for each request
// call either Served or [NodeValueTracker.Failed], once. It does not allocate.
func (nv *NodeValueTracker) Served(reqs []ServedRequest, respTime time.Duration) {
	nv.count(reqs, TimeToStatScale(respTime), true)
}

// Failed counts requests whose answer did not pass verification, came too late
// to be of use, or never came. They lower the service value and do not change
// the recommended timeout. It does not allocate.
func (nv *NodeValueTracker) Failed(reqs []ServedRequest) {
	nv.count(reqs, lastBin, false)
}

// RtStats returns the server's answers of all sessions, those of this moment
// included. A tracker that is kept while its server is not registered may
// return old statistics; get a new one then.
func (nv *NodeValueTracker) RtStats() ResponseTimeStats {
	nv.mu.Lock()
	defer nv.mu.Unlock()
	return nv.mu.allStats()
}

// count counts an outcome at a place on the time axis.
func (nv *NodeValueTracker) count(reqs []ServedRequest, pos float64, served bool) {
	nv.mu.Lock()
	if !nv.mu.registered {
		nv.mu.Unlock()
		nv.vt.countUnregistered(nv, reqs, pos, served)
		return
	}
	known := nv.mu.add(reqs, pos, served)
	complain := !known && nv.mu.firstTime(misuseType)
	nv.mu.Unlock()
	if complain {
		nv.vt.reportType(nv.id)
	}
}

// nodeState is what is known of one server; the maths of NodeValueTracker,
// without its lock.
type nodeState struct {
	registered bool // connected, in the application's eyes
	unread     bool // the record could not be read yet; it is added when it can
	dirty      bool // differs from the stored record, and from the copy being saved
	saving     bool // a copy is being saved
	warned     misuse

	// What Served writes: raw amounts, valid for one expiration factor and one
	// list of prices. fold puts them where they belong.
	ref     *reference
	factor  ExpirationFactor
	unit    float64          // what a weight of 1 adds to fresh, from factor
	fresh   [timeBins]uint64 // answers since the last fold, inflated by factor
	counted bool             // fresh is not empty
	types   []tally          // with the requests since the last flush
	waiting bool             // there are such requests

	stats  ResponseTimeStats // of all sessions, without fresh
	basket basket            // without pending, and what has moved to the reference basket
	since  mclock.AbsTime    // when a share of the basket last moved
	priced int               // how many types the server's cost table has
	price  float64           // see reference.costFactor
}

// firstTime notes a mistake and tells whether it is the first of its kind.
func (n *nodeState) firstTime(m misuse) bool {
	first := n.warned&m == 0
	n.warned |= m
	return first
}

// add counts an outcome. It returns false if there were unknown request types,
// which are left out.
func (n *nodeState) add(reqs []ServedRequest, pos float64, served bool) bool {
	known := true
	var weight float64
	for _, r := range reqs {
		if uint(r.ReqType) >= uint(len(n.types)) {
			known = false
			continue
		}
		t := &n.types[r.ReqType]
		weight += float64(r.Amount) * t.worth
		if served {
			t.pending = addSat(t.pending, uint64(r.Amount))
		}
	}
	n.waiting = n.waiting || served
	addToBins(&n.fresh, pos, weight*n.unit)
	n.counted, n.dirty = true, true
	return known
}

// allStats returns the statistics with what is not folded yet.
func (n *nodeState) allStats() ResponseTimeStats {
	stats := n.stats
	if n.counted {
		stats.addBins(&n.fresh, n.factor.Exp)
	}
	return stats
}

// flush prices the pending requests and puts them into the basket.
func (n *nodeState) flush() {
	if !n.waiting {
		return
	}
	n.basket.raise(n.factor.Exp)
	unit := scalePow2(n.factor.Factor, n.factor.Exp, n.basket.Exp)
	for i := range n.types {
		t := &n.types[i]
		if t.pending == 0 {
			continue
		}
		price := t.worth * basketUnit // unknown: as elsewhere
		if i < n.priced {
			price = t.cost * n.price
		}
		amount := float64(t.pending) * unit
		n.basket.Items[i].add(floatToUint64(amount*basketUnit), floatToUint64(amount*price))
		t.pending = 0
	}
	n.waiting = false
}

// fold closes the books of an expiration factor: what was counted since the
// last fold goes to the basket, to the statistics, and to the global ones. Both
// statistics get the same whole numbers, so that the sum over the servers stays
// what the global ones say.
func (n *nodeState) fold(global *ResponseTimeStats) {
	n.flush()
	if !n.counted {
		return
	}
	n.stats.raise(n.factor.Exp)
	global.raise(n.factor.Exp)
	down, globalDown := n.stats.exp-n.factor.Exp, global.exp-n.factor.Exp
	for i, v := range n.fresh {
		if v != 0 {
			n.stats.stats[i] = addSat(n.stats.stats[i], v>>down)
			global.stats[i] = addSat(global.stats[i], v>>globalDown)
			n.fresh[i] = 0
		}
	}
	n.counted = false
}

// adopt starts the books for a new factor and new reference values; nothing may
// be left unfolded.
func (n *nodeState) adopt(factor ExpirationFactor, ref *reference) {
	n.factor, n.unit = factor, factor.Factor*weightUnit
	if ref == n.ref {
		return
	}
	n.ref = ref
	for i := range n.types {
		n.types[i].worth = ref.prices[i]
	}
	n.price = ref.costFactor(n.types, n.priced)
}

// setCosts sets the cost table; requests counted so far keep the old prices.
func (n *nodeState) setCosts(costs []uint64) {
	n.flush()
	n.priced = min(len(costs), len(n.types))
	for i, cost := range costs[:n.priced] {
		n.types[i].cost = float64(cost)
	}
	n.price = n.ref.costFactor(n.types, n.priced)
}

// connect starts a session: the old cost table is void, and the time before now
// moves nothing to the reference basket.
func (n *nodeState) connect(now mclock.AbsTime) {
	n.registered = true
	n.warned = 0
	n.since = now
	n.setCosts(nil)
}

// merge adds a stored record to a tracker that started without it.
func (n *nodeState) merge(stats *ResponseTimeStats, b basket) {
	n.flush()
	n.stats.AddStats(stats)
	n.basket.raise(b.Exp)
	b.raise(n.basket.Exp)
	for i, it := range b.Items {
		n.basket.Items[i].add(it.Amount, it.Value)
	}
	n.unread = false
}
