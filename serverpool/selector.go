package serverpool

import (
	"math/rand/v2"
	"sync"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/wrs"
	"github.com/lespool/lespool/nodestate"
)

// WrsIterator is an iterator over the nodes of a machine that have certain
// flags and lack others: Next returns one at random, in proportion to a field.
// A node stays in the selection until its state changes, so the reader should
// change it.
//
// Next waits for a node and returns false only after Close.
type WrsIterator struct {
	ns *nodestate.NodeStateMachine

	mu struct {
		sync.Mutex
		wake    sync.Cond // on mu
		nodes   *wrs.Select[enode.ID]
		weights map[enode.ID]uint64 // of nodes that match, as far as they have one
		node    *enode.Node
		closed  bool
	}
	filled func() // called without mu when a node can be chosen
}

// NewWrsIterator makes an iterator over the nodes that have all flags of
// require and none of disable, and a weight above 0 in the field. It subscribes
// to both, so it has to be made before the machine starts.
func NewWrsIterator(ns *nodestate.NodeStateMachine, require, disable nodestate.Flags, weightField nodestate.Field[uint64]) *WrsIterator {
	return newWrsIterator(ns, require, disable, weightField, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
}

func newWrsIterator(ns *nodestate.NodeStateMachine, require, disable nodestate.Flags, weightField nodestate.Field[uint64], rnd *rand.Rand) *WrsIterator {
	it := &WrsIterator{ns: ns, filled: func() {}}
	it.mu.wake.L = &it.mu
	it.mu.weights = make(map[enode.ID]uint64)
	it.mu.nodes = wrs.New(rnd, func(id enode.ID) uint64 { return it.mu.weights[id] })
	watchMatch(ns, require, disable, func(n *enode.Node, matches bool) {
		weight := uint64(0)
		if matches {
			weight, _ = weightField.Get(ns, n)
		}
		it.change(n.ID(), weight)
	})
	weightField.Subscribe(ns, func(_ nodestate.Op, n *enode.Node, state nodestate.Flags, _, weight nodestate.Value[uint64]) {
		if state.HasAll(require) && state.HasNone(disable) {
			it.change(n.ID(), weight.V)
		}
	})
	return it
}

func (it *WrsIterator) change(id enode.ID, weight uint64) {
	it.update(id, weight)
	if weight != 0 {
		it.filled()
	}
}

func (it *WrsIterator) update(id enode.ID, weight uint64) {
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.mu.closed {
		return
	}
	if weight == 0 {
		delete(it.mu.weights, id)
	} else {
		it.mu.weights[id] = weight
	}
	it.mu.nodes.Update(id)
	if weight != 0 {
		it.mu.wake.Broadcast()
	}
}

// Next implements enode.Iterator.
func (it *WrsIterator) Next() bool {
	it.mu.Lock()
	defer it.mu.Unlock()
	for {
		if it.mu.node = it.pickLocked(); it.mu.node != nil || it.mu.closed {
			return it.mu.node != nil
		}
		it.mu.wake.Wait()
	}
}

// len returns how many nodes can be chosen.
func (it *WrsIterator) len() int {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.mu.nodes.Len()
}

// pick is Next without waiting; nil means that there is no node.
func (it *WrsIterator) pick() *enode.Node {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.pickLocked()
}

func (it *WrsIterator) pickLocked() *enode.Node {
	for !it.mu.closed {
		id, ok := it.mu.nodes.Choose()
		if !ok {
			return nil
		}
		if n := it.ns.GetNode(id); n != nil {
			return n
		}
		// Forgotten a moment ago; the callback that says so has not run yet.
		delete(it.mu.weights, id)
		it.mu.nodes.Remove(id)
	}
	return nil
}

// Node implements enode.Iterator.
func (it *WrsIterator) Node() *enode.Node {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.mu.node
}

// Close implements enode.Iterator. All waiting and later calls of Next return
// false.
func (it *WrsIterator) Close() {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.mu.closed = true
	it.mu.wake.Broadcast()
}
