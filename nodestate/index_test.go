package nodestate

import (
	"math"
	"sync"
	"sync/atomic"
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
				require.Same(t, model[id], x.find(hash, &id, nil))
			}
			seen := 0
			x.each(func(nd *node) {
				seen++
				require.Same(t, model[nd.record.Load().ID()], nd)
			})
			require.Equal(t, len(model), seen)
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
		id := testutil.FakeNode(i, 1).ID()
		want := x.find(5, &id, nil)
		require.NotNil(t, want)
		require.Same(t, want, findRecord(&x, 5, want.record.Load()))
		require.Same(t, want, findRecord(&x, 5, testutil.FakeNode(i, 2)))
	}
	require.Nil(t, findRecord(&x, 5, testutil.FakeNode(9, 1)))
	require.Nil(t, findRecord(&x, 6, testutil.FakeNode(0, 1)), "another hash")
	require.Nil(t, findRecord(new(index), 5, testutil.FakeNode(0, 1)), "an empty index")
}

// findRecord looks for the node that n is a record of.
func findRecord(x *index, hash uint32, n *enode.Node) *node {
	id := n.ID()
	return x.find(hash, &id, n)
}

// Nodes that come and go leave nothing behind: the table stays as small as what
// is in it asks for.
func TestIndexDoesNotGrowByChurn(t *testing.T) {
	var x index
	const lasting = 10
	for i := range uint64(10_000) {
		nd := &node{hash: uint32(i * 0x9e3779b9)}
		nd.record.Store(testutil.FakeNode(i, 1))
		x.insert(nd)
		if i >= lasting {
			x.remove(nd)
		}
	}
	require.Equal(t, lasting, x.count)
	require.LessOrEqual(t, len(x.table()), 4*lasting)
}

// A removed node's slot is no node, whatever hash is looked for: not even that
// of the mark in it.
func TestIndexPassesOverRemovedNodes(t *testing.T) {
	var x index
	var nodes []*node
	for i := range uint64(3) {
		nd := &node{hash: gone.hash}
		nd.record.Store(testutil.FakeNode(i, 1))
		x.insert(nd)
		nodes = append(nodes, nd)
	}
	x.remove(nodes[0])
	require.Same(t, nodes[2], findRecord(&x, gone.hash, testutil.FakeNode(2, 2)))
	require.Nil(t, findRecord(&x, gone.hash, testutil.FakeNode(0, 1)))
}

// Whoever looks for a node that stays finds it, at any moment, while others come
// and go and the table grows.
func TestIndexIsReadWithoutLock(t *testing.T) {
	var x index
	staying := &node{hash: 3}
	staying.record.Store(testutil.FakeNode(0, 1))
	x.insert(staying)
	other := testutil.FakeNode(0, 2)
	var readers sync.WaitGroup
	var stop atomic.Bool
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				if findRecord(&x, 3, other) != staying {
					t.Error("not found")
					return
				}
			}
		})
	}
	for i := range uint64(20_000) {
		nd := &node{hash: uint32(i)}
		nd.record.Store(testutil.FakeNode(i+1, 1))
		x.insert(nd)
		if i%16 != 0 {
			x.remove(nd)
		}
	}
	stop.Store(true)
	readers.Wait()
}
