package nodestate

import (
	"container/heap"
	"math"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
)

// timeout resets flags of a node at a given time. The timeouts of a node form
// a list; those of all nodes form a heap ordered by time.
type timeout struct {
	at    mclock.AbsTime
	seq   uint64 // orders timeouts due at the same time
	mask  uint64 // flags it still resets, never none
	nd    *node
	next  *timeout // of the same node
	index int      // in the heap
}

// later adds without overflow: a timeout of centuries never comes.
func later(now mclock.AbsTime, d time.Duration) mclock.AbsTime {
	if at := now.Add(d); at >= now {
		return at
	}
	return math.MaxInt64
}

// timeouts is the heap of running timeouts. It belongs to the operation.
type timeouts struct {
	heap timeoutHeap
	seq  uint64
	free *timeout // ended ones to use again, linked by next; as many as ever ran at once
}

// add starts a timeout. The caller links it into the node's list.
func (t *timeouts) add(nd *node, mask uint64, at mclock.AbsTime) *timeout {
	to := t.free
	if to == nil {
		to = new(timeout)
	} else {
		t.free = to.next
	}
	t.seq++
	*to = timeout{at: at, seq: t.seq, mask: mask, nd: nd}
	heap.Push(&t.heap, to)
	return to
}

// remove ends a timeout that is linked to no node any more.
func (t *timeouts) remove(to *timeout) {
	heap.Remove(&t.heap, to.index)
	*to = timeout{next: t.free}
	t.free = to
}

// next returns the time of the earliest timeout.
func (t *timeouts) next() (at mclock.AbsTime, ok bool) {
	if len(t.heap) == 0 {
		return 0, false
	}
	return t.heap[0].at, true
}

// due returns the earliest timeout if its time has come.
func (t *timeouts) due(now mclock.AbsTime) *timeout {
	if len(t.heap) == 0 || t.heap[0].at > now {
		return nil
	}
	return t.heap[0]
}

// timedFlags returns the flags of a node that have a running timeout.
func (nd *node) timedFlags() (mask uint64) {
	for to := nd.timers; to != nil; to = to.next {
		mask |= to.mask
	}
	return mask
}

// strip takes flags out of the node's timeouts and returns those that have
// none left, unlinked from the node.
func (nd *node) strip(mask uint64) (ended *timeout) {
	link := &nd.timers
	for to := *link; to != nil; to = *link {
		to.mask &^= mask
		if to.mask != 0 {
			link = &to.next
			continue
		}
		*link = to.next
		to.next, ended = ended, to
	}
	return ended
}

type timeoutHeap []*timeout

func (h timeoutHeap) Len() int { return len(h) }
func (h timeoutHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h timeoutHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timeoutHeap) Push(x any) {
	to := x.(*timeout)
	to.index = len(*h)
	*h = append(*h, to)
}
func (h *timeoutHeap) Pop() any {
	last := len(*h) - 1
	to := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return to
}
