package nodestate

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common/mclock"
)

// This file decides when changed nodes go to the store.

// markDirty has the next flush look at a node.
func (ns *NodeStateMachine) markDirty(nd *node) {
	if ns.saver != nil && nd.dirty == 0 {
		ns.dirty = append(ns.dirty, nd)
		nd.dirty = uint32(len(ns.dirty))
	}
}

// unmarkDirty takes a node off the list, so that a machine which is flushed
// seldom or never does not gather nodes that are forgotten.
func (ns *NodeStateMachine) unmarkDirty(nd *node) {
	if nd.dirty == 0 {
		return
	}
	last := ns.popDirty()
	if last != nd {
		last.dirty, nd.dirty = nd.dirty, 0
		ns.dirty[last.dirty-1] = last
	}
}

func (ns *NodeStateMachine) popDirty() *node {
	last := len(ns.dirty) - 1
	nd := ns.dirty[last]
	ns.dirty[last] = nil
	ns.dirty = ns.dirty[:last]
	nd.dirty = 0
	return nd
}

// collect submits up to limit dirty nodes.
func (ns *NodeStateMachine) collect(limit int) {
	for range min(limit, len(ns.dirty)) {
		ns.submit(ns.popDirty())
	}
}

// stopChunk is how many nodes Stop encodes while the ones before are written.
// More leaves less to do at the same time, fewer makes smaller batches.
const stopChunk = 4096

// collectAll submits all dirty nodes. If there are many it also has them
// written meanwhile; closing the saver writes the rest, and what has failed.
func (ns *NodeStateMachine) collectAll() {
	for len(ns.dirty) > stopChunk {
		ns.collect(stopChunk)
		ns.timers.Go(func() { _ = ns.saver.write() })
	}
	ns.collect(len(ns.dirty))
}

// flushTimer is set while something waits to be written.
type flushTimer struct {
	set atomic.Bool // written under mu, but for the end of a flush
	mu  struct {
		sync.Mutex
		timer   mclock.Timer
		stopped bool
	}
}

// setFlushTimer makes sure that what waits in the saver, or is dirty, will be
// written. The caller has the turn, or knows that something waits in the
// saver.
func (ns *NodeStateMachine) setFlushTimer() {
	if ns.flushAfter < 0 || ns.flushing.set.Load() {
		return
	}
	t := &ns.flushing
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.mu.stopped && !t.set.Swap(true) {
		t.mu.timer = ns.after(ns.flushAfter, ns.flush)
	}
}

// stopFlushing cancels the timer for good.
func (ns *NodeStateMachine) stopFlushing() {
	t := &ns.flushing
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.stopped = true
	ns.cancelTimer(&t.mu.timer)
}

// flush writes what became dirty. Encoding takes turns with the operations,
// writing does not.
func (ns *NodeStateMachine) flush() {
	defer ns.timers.Done()
	for ns.flushSome() {
	}
	if err := ns.saver.write(); err != nil && !errors.Is(err, ErrClosed) {
		ns.log.Error("Node states could not be saved, will try again", "waiting", ns.saver.count.Load(), "err", err)
	}
	ns.turn.Lock()
	defer ns.turn.Unlock()
	ns.flushing.set.Store(false)
	if ns.hasUnwritten() {
		ns.setFlushTimer()
	}
}

func (ns *NodeStateMachine) hasUnwritten() bool {
	return len(ns.dirty) > 0 || ns.saver != nil && ns.saver.count.Load() > 0
}

// flushChunk is how many nodes are encoded in one turn. More makes operations
// wait longer, fewer makes the flush wait more often.
const flushChunk = 256

// flushSome takes a turn and tells whether another one is needed.
func (ns *NodeStateMachine) flushSome() bool {
	ns.turn.Lock()
	defer ns.turn.Unlock()
	if ns.phase.Load() != phaseRunning {
		return false
	}
	ns.collect(flushChunk)
	storeIfNew(&ns.unwritten, int64(len(ns.dirty)))
	return len(ns.dirty) > 0
}
