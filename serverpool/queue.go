package serverpool

import (
	"container/list"
	"sync"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// QueueIterator is an iterator over the nodes of a machine that have certain
// flags and lack others, in the order in which they came to do so. A node that
// was returned comes again when it has ceased to match and matches anew.
//
// Next waits for a node and returns false only after Close. Next and Node may
// be called while other goroutines do; with several readers take nodes from
// one at a time, since Node belongs to the latest Next.
type QueueIterator struct {
	ns      *nodestate.NodeStateMachine
	fifo    bool
	waiting func(bool) // called with mu held

	mu struct {
		sync.Mutex
		wake    sync.Cond // on mu
		queue   list.List // of enode.ID, oldest first
		index   map[enode.ID]*list.Element
		readers int // inside Next, or waiting otherwise
		needed  bool
		node    *enode.Node
		closed  bool
	}
	filled func() // called without mu when the queue gets its first node
}

// NewQueueIterator makes an iterator over the nodes that have all flags of
// require and none of disable; the oldest first if fifo is true, else the
// newest. It subscribes to the flags, so it has to be made before the machine
// starts. waitCallback, which may be nil, is called with true when more readers
// wait in Next than there are nodes, and with false when that is over; it must
// not call the iterator, nor start an operation.
func NewQueueIterator(ns *nodestate.NodeStateMachine, require, disable nodestate.Flags, fifo bool, waitCallback func(bool)) *QueueIterator {
	it := &QueueIterator{ns: ns, fifo: fifo, waiting: waitCallback, filled: func() {}}
	it.mu.wake.L = &it.mu
	it.mu.index = make(map[enode.ID]*list.Element)
	watchMatch(ns, require, disable, it.change)
	return it
}

// watchMatch reports the nodes that come to have all flags of require and none
// of disable, and those that cease to.
func watchMatch(ns *nodestate.NodeStateMachine, require, disable nodestate.Flags, change func(n *enode.Node, matches bool)) {
	matches := func(f nodestate.Flags) bool { return f.HasAll(require) && f.HasNone(disable) }
	ns.SubscribeState(require.Or(disable), func(_ nodestate.Op, n *enode.Node, oldState, newState nodestate.Flags) {
		if is := matches(newState); is != matches(oldState) {
			change(n, is)
		}
	})
}

func (it *QueueIterator) change(n *enode.Node, matches bool) {
	if it.enqueue(n.ID(), matches) {
		it.filled()
	}
}

// enqueue adds or removes a node and tells whether the queue was empty before.
func (it *QueueIterator) enqueue(id enode.ID, matches bool) (first bool) {
	it.mu.Lock()
	defer it.mu.Unlock()
	if !matches {
		if e := it.mu.index[id]; e != nil {
			it.removeLocked(e)
		}
		return false
	}
	if it.mu.closed || it.mu.index[id] != nil {
		return false
	}
	it.mu.index[id] = it.mu.queue.PushBack(id)
	it.updateNeedLocked()
	it.mu.wake.Signal()
	return it.mu.queue.Len() == 1
}

func (it *QueueIterator) removeLocked(e *list.Element) {
	delete(it.mu.index, it.mu.queue.Remove(e).(enode.ID))
	it.updateNeedLocked()
}

func (it *QueueIterator) updateNeedLocked() {
	needed := it.mu.readers > it.mu.queue.Len() && !it.mu.closed
	if needed != it.mu.needed {
		it.mu.needed = needed
		if it.waiting != nil {
			it.waiting(needed)
		}
	}
}

// await changes the number of readers that wait without being in Next.
func (it *QueueIterator) await(more int) {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.mu.readers += more
	it.updateNeedLocked()
}

// Next implements enode.Iterator.
func (it *QueueIterator) Next() bool { return it.next() != nil }

// next is Next and Node in one.
func (it *QueueIterator) next() *enode.Node {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.mu.node = nil
	for it.mu.node == nil && !it.mu.closed {
		it.mu.readers++
		it.updateNeedLocked()
		for it.mu.queue.Len() == 0 && !it.mu.closed {
			it.mu.wake.Wait()
		}
		it.mu.readers--
		it.mu.node = it.pickLocked()
		it.updateNeedLocked()
	}
	return it.mu.node
}

// len returns how many nodes match and were not returned yet.
func (it *QueueIterator) len() int {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.mu.queue.Len()
}

// pick is Next without waiting; nil means that there is no node.
func (it *QueueIterator) pick() *enode.Node {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.pickLocked()
}

func (it *QueueIterator) pickLocked() *enode.Node {
	for it.mu.queue.Len() > 0 && !it.mu.closed {
		e := it.mu.queue.Back()
		if it.fifo {
			e = it.mu.queue.Front()
		}
		id := e.Value.(enode.ID)
		it.removeLocked(e)
		if n := it.ns.GetNode(id); n != nil {
			return n
		}
	}
	return nil
}

// Node implements enode.Iterator: the node of the last Next, with the newest
// record known at that time.
func (it *QueueIterator) Node() *enode.Node {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.mu.node
}

// Close implements enode.Iterator. All waiting and later calls of Next return
// false.
func (it *QueueIterator) Close() {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.mu.closed = true
	it.mu.queue.Init()
	clear(it.mu.index)
	it.updateNeedLocked()
	it.mu.wake.Broadcast()
}
