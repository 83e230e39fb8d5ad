package nodestate

import (
	"math"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lespool/lespool/internal/testutil"
)

// An index finds what a map would, whatever was put in and taken out before.
// Hashes are few, at both ends of their range, so that searches are long and
// run over the end of the table.
func TestIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		model := make(map[enode.ID]*node)
		hashes := make(map[enode.ID]uint32)
		anyHash := rapid.SampledFrom([]uint32{0, 1, 2, 7, 8, 1 << 31, math.MaxUint32 - 1, math.MaxUint32})
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			n := testutil.FakeNode(rapid.Uint64Range(0, 40).Draw(t, "node"), 1)
			id := n.ID()
			if _, ok := hashes[id]; !ok {
				hashes[id] = anyHash.Draw(t, "hash")
			}
			if nd := model[id]; nd != nil {
				x.remove(nd)
				delete(model, id)
			} else {
				nd := &node{hash: hashes[id]}
				nd.record.Store(n)
				x.insert(nd)
				model[id] = nd
			}
			require.Equal(t, len(model), x.count)
			for id, hash := range hashes {
				require.Same(t, model[id], x.findID(hash, id))
			}
		}
	})
}

// A node is found by the record it has, and by another one with the same id,
// also when a node with the same hash stands in its place.
func TestIndexFindsByAnyRecord(t *testing.T) {
	var x index
	for i := range uint64(3) {
		nd := &node{hash: 5}
		nd.record.Store(testutil.FakeNode(i, 1))
		x.insert(nd)
	}
	for i := range uint64(3) {
		want := x.findID(5, testutil.FakeNode(i, 1).ID())
		require.NotNil(t, want)
		require.Same(t, want, x.find(5, want.record.Load()))
		require.Same(t, want, x.find(5, testutil.FakeNode(i, 2)))
	}
	require.Nil(t, x.find(5, testutil.FakeNode(9, 1)))
	require.Nil(t, x.find(6, testutil.FakeNode(0, 1)), "another hash")
	require.Nil(t, new(index).find(5, testutil.FakeNode(0, 1)), "an empty index")
}
