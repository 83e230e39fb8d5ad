package wrs

import (
	"math"
	"math/bits"
	"math/rand/v2"
)

const (
	// maxTotal bounds the sum of all remembered weights, so that a sum never
	// wraps. An item gets at most what the others leave of it.
	maxTotal = math.MaxInt64

	// minCapacity is the size below which memory is not given back. The larger
	// it is, the fewer reallocations a small set sees and the more an emptied
	// one keeps.
	minCapacity = 64
)

// Select is a set of weighted items; see the package documentation. Make it
// with [New].
type Select[T comparable] struct {
	rnd    *rand.Rand
	weight func(T) uint64

	index map[T]int // item -> its place in entries; looked up, never ranged over
	// entries and tree have equal length. tree is a Fenwick tree: counting
	// places from 1, tree[i-1] is the sum of the weights at the i&-i places that
	// end at place i.
	entries []entry[T]
	tree    []uint64
	total   uint64 // sum of the weights in entries, at most maxTotal
}

type entry[T comparable] struct {
	item   T
	weight uint64 // as last read, cut to the room there was; never 0
}

// New returns an empty set that draws from rnd and reads weights with weight.
// Neither may be nil.
func New[T comparable](rnd *rand.Rand, weight func(T) uint64) *Select[T] {
	return &Select[T]{rnd: rnd, weight: weight, index: make(map[T]int)}
}

// Len returns the number of items.
func (s *Select[T]) Len() int { return len(s.entries) }

// IsEmpty tells whether there is nothing to choose from.
func (s *Select[T]) IsEmpty() bool { return len(s.entries) == 0 }

// Update reads the item's weight and remembers it, adding the item if it is
// new. Weight 0 removes it. The sum of all weights stays within 2^63-1: a
// weight beyond that is cut to the room that the other items leave, and an
// item that finds no room at all is left out until an Update finds some.
func (s *Select[T]) Update(item T) {
	w := s.weight(item)
	i, known := s.index[item]
	var old uint64
	if known {
		old = s.entries[i].weight
	}
	w = min(w, maxTotal-(s.total-old))
	switch {
	case w == 0:
		s.Remove(item)
	case known:
		s.set(i, w)
	default:
		s.push(item, w)
	}
}

// Remove takes the item out of the set. An unknown item is ignored.
func (s *Select[T]) Remove(item T) {
	i, known := s.index[item]
	if !known {
		return
	}
	last := len(s.entries) - 1
	moved := s.entries[last]
	s.total -= s.entries[i].weight
	if i != last {
		s.add(i, moved.weight-s.entries[i].weight)
		s.entries[i] = moved
		s.index[moved.item] = i
	}
	delete(s.index, item)
	s.entries[last] = entry[T]{} // do not pin what the item points to
	s.entries, s.tree = s.entries[:last], s.tree[:last]
	s.shrink()
}

// Choose draws an item in proportion to the weights and leaves it in the set.
// If the drawn item's weight fell since it was read, the new weight is
// remembered (0 removes the item) and the draw stands with probability new/old;
// otherwise another is made. A weight that grew is used as remembered. Choose
// returns false if the set is, or thereby becomes, empty.
func (s *Select[T]) Choose() (item T, ok bool) {
	for s.total > 0 {
		i, offset := s.find(s.rnd.Uint64N(s.total))
		e := s.entries[i]
		w := s.weight(e.item)
		switch {
		case w >= e.weight:
			return e.item, true
		case w == 0:
			s.Remove(e.item)
		default:
			s.set(i, w)
			// offset is uniform below the old weight: no second draw is needed.
			if offset < w {
				return e.item, true
			}
		}
	}
	return item, false
}

// push appends an item. Its tree node covers the places of the nodes just
// before it that end where a shorter range ends, and itself.
func (s *Select[T]) push(item T, w uint64) {
	s.index[item] = len(s.entries)
	s.entries = append(s.entries, entry[T]{item, w})
	s.total += w
	place := len(s.entries)
	sum := w
	for covered, end := place-place&-place, place-1; end > covered; end -= end & -end {
		sum += s.tree[end-1]
	}
	s.tree = append(s.tree, sum)
}

// set changes the remembered weight of entries[i].
func (s *Select[T]) set(i int, w uint64) {
	delta := w - s.entries[i].weight // may wrap, and then wraps back in the sums
	s.entries[i].weight = w
	s.total += delta
	s.add(i, delta)
}

func (s *Select[T]) add(i int, delta uint64) {
	for place := i + 1; place <= len(s.tree); place += place & -place {
		s.tree[place-1] += delta
	}
}

// find returns the entry in whose share of [0, total) x lies, and how far into
// that share.
func (s *Select[T]) find(x uint64) (i int, offset uint64) {
	place := 0
	for step := 1 << (bits.Len(uint(len(s.tree))) - 1); step > 0; step >>= 1 {
		if next := place + step; next <= len(s.tree) && s.tree[next-1] <= x {
			place = next
			x -= s.tree[next-1]
		}
	}
	return place, x
}

// shrink moves everything into smaller memory when most of it is unused. Maps
// never give memory back, so the index is made anew as well.
func (s *Select[T]) shrink() {
	n := len(s.entries)
	if cap(s.entries) <= minCapacity || n > cap(s.entries)/4 {
		return
	}
	s.entries = append(make([]entry[T], 0, 2*n), s.entries...)
	s.tree = append(make([]uint64, 0, 2*n), s.tree...)
	s.index = make(map[T]int, 2*n)
	for i, e := range s.entries {
		s.index[e.item] = i
	}
}
