package nodestate

import "slices"

// change is an entry of the operation's queue: one change of one node, whose
// subscribers are still to be called.
type change struct {
	nd       *node
	from, to uint64 // states before and after; the same in a field's change
	field    int32  // index of the field, or stateChange
}

const stateChange = int32(-1)

// fifo is a queue that reuses its memory. The zero value is empty.
type fifo[T any] struct {
	items []T
	head  int
	peak  int // most items that ever waited
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(item T) {
	// Within one long cascade the queue never runs empty: move the rest down
	// instead of growing without end.
	if q.head > 64 && q.head > len(q.items)/2 && len(q.items) == cap(q.items) {
		rest := copy(q.items, q.items[q.head:])
		clear(q.items[rest:])
		q.items, q.head = q.items[:rest], 0
	}
	q.items = append(q.items, item)
	q.peak = max(q.peak, q.len())
}

// grow makes room for that many items.
func (q *fifo[T]) grow(items int) { q.items = slices.Grow(q.items, items) }

// front returns the oldest item, which must exist.
func (q *fifo[T]) front() *T { return &q.items[q.head] }

// keepCap is how much memory an empty queue keeps for the next operation, in
// items. More spares allocations after bursts such as Start.
const keepCap = 1024

func (q *fifo[T]) pop() {
	var zero T
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > keepCap {
			q.items = nil
		}
	}
}
