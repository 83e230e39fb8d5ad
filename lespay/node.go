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
	types := len(nv.mu.pending)
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
	nv.count(answer{reqs, TimeToStatScale(respTime), true})
}

// Failed counts requests whose answer did not pass verification, came too late
// to be of use, or never came. They lower the service value and do not change
// the recommended timeout. It does not allocate.
func (nv *NodeValueTracker) Failed(reqs []ServedRequest) {
	nv.count(answer{reqs, lastBin, false})
}

// RtStats returns the server's answers of all sessions, those of this moment
// included. A tracker that is kept while its server is not registered may
// return old statistics; get a new one then.
func (nv *NodeValueTracker) RtStats() ResponseTimeStats {
	nv.mu.Lock()
	defer nv.mu.Unlock()
	return nv.mu.allStats()
}

// answer is one outcome to count: what was asked for, where on the time axis
// the answer is, and whether it was good.
type answer struct {
	reqs   []ServedRequest
	pos    float64
	served bool
}

func (nv *NodeValueTracker) count(a answer) {
	nv.mu.Lock()
	if !nv.mu.registered {
		nv.mu.Unlock()
		nv.vt.countUnregistered(nv, a)
		return
	}
	complain := nv.mu.add(a) && nv.mu.firstTime(misuseType)
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
	fresh   [timeBins]uint64 // answers since the last fold, inflated by factor
	counted bool             // fresh is not empty
	pending []uint64         // requests of each type since the last flush
	waiting bool             // pending is not empty

	stats  ResponseTimeStats // of all sessions, without fresh
	basket basket            // without pending, and what has moved to the reference basket
	since  mclock.AbsTime    // when a share of the basket last moved
	costs  []uint64          // the server's, for the first so many types
	prices []float64         // see reference.basketPrices
}

// firstTime notes a mistake and tells whether it is the first of its kind.
func (n *nodeState) firstTime(m misuse) bool {
	first := n.warned&m == 0
	n.warned |= m
	return first
}

// add counts an outcome and returns whether there was an unknown request type,
// which is left out.
func (n *nodeState) add(a answer) (unknown bool) {
	var weight float64
	prices := n.ref.prices
	for _, r := range a.reqs {
		if uint(r.ReqType) >= uint(len(prices)) {
			unknown = true
			continue
		}
		weight += float64(r.Amount) * prices[r.ReqType]
		if a.served {
			n.pending[r.ReqType] = addSat(n.pending[r.ReqType], uint64(r.Amount))
		}
	}
	addToBins(&n.fresh, a.pos, weight*n.factor.Factor*weightUnit)
	n.counted, n.dirty = true, true
	n.waiting = n.waiting || a.served
	return unknown
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
	for i, amount := range n.pending {
		if amount != 0 {
			a := float64(amount) * unit
			n.basket.Items[i].add(floatToUint64(a*basketUnit), floatToUint64(a*n.prices[i]))
			n.pending[i] = 0
		}
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
	n.stats.addBins(&n.fresh, n.factor.Exp)
	global.addBins(&n.fresh, n.factor.Exp)
	n.fresh = [timeBins]uint64{}
	n.counted = false
}

// adopt starts the books for a new factor and new reference values; nothing may
// be left unfolded.
func (n *nodeState) adopt(factor ExpirationFactor, ref *reference) {
	n.factor = factor
	if ref != n.ref {
		n.ref = ref
		ref.basketPrices(n.costs, n.prices)
	}
}

// setCosts sets the cost table; requests counted so far keep the old prices.
func (n *nodeState) setCosts(costs []uint64) {
	n.flush()
	n.costs = append(n.costs[:0], costs[:min(len(costs), len(n.prices))]...)
	n.ref.basketPrices(n.costs, n.prices)
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
