package server

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever is put in and taken out, the order is that of a sorted list.
func TestOrderAgainstSortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o order
		var list []*place
		tie := uint64(0)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			if len(list) > 0 && rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				i := rapid.IntRange(0, len(list)-1).Draw(t, "which")
				o.remove(list[i])
				list = slices.Delete(list, i, i+1)
			} else {
				tie++
				p := &place{
					key: rapid.Int64Range(-5, 5).Draw(t, "key"), tie: tie,
					gain: rapid.Uint64Range(0, 9).Draw(t, "gain"), last: rapid.Bool().Draw(t, "last"),
				}
				at, _ := slices.BinarySearchFunc(list, p, func(a, b *place) int {
					if a.before(b) {
						return -1
					}
					return 1
				})
				list = slices.Insert(list, at, p)
				o.insert(p)
			}
			requireSameOrder(t, list, &o)
		}
	})
}

func requireSameOrder(t *rapid.T, list []*place, o *order) {
	require.Equal(t, len(list), o.size)
	var first, firstLast *place
	var sum uint64
	limit := rapid.Uint64Range(0, 200).Draw(t, "limit")
	var found, previous *place
	var before uint64
	for _, p := range list {
		if first == nil {
			first = p
		}
		if firstLast == nil && p.last {
			firstLast = p
		}
		if found == nil && sum+p.gain > limit {
			found, before = p, sum
		}
		if found == nil {
			previous = p
		}
		sum += p.gain
	}
	if found == nil {
		before = sum
	}
	require.Same(t, first, o.first())
	require.Same(t, firstLast, o.firstLast())
	gotFound, gotPrevious, gotBefore := o.search(func(p *place, before uint64) bool { return before+p.gain > limit })
	require.Same(t, found, gotFound)
	require.Same(t, previous, gotPrevious)
	require.Equal(t, before, gotBefore)
}

func TestOrderStaysFlat(t *testing.T) {
	var o order
	places := make([]place, 1<<14)
	for i := range places {
		places[i] = place{key: int64(i), tie: uint64(i)}
		o.insert(&places[i])
	}
	var depth func(p *place) int
	depth = func(p *place) int {
		if p == nil {
			return 0
		}
		return 1 + max(depth(p.left), depth(p.right))
	}
	require.Less(t, depth(o.root), 50)
}
