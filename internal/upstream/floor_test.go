package upstream

import (
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// The floor: what a machine can't do without.

func BenchmarkFloorMap(b *testing.B) { lookUp(b, numNodes) }

func BenchmarkFloorGrowth(b *testing.B) {
	forGrowth(b, func(b *testing.B, size int) {
		b.Run("Map", func(b *testing.B) { lookUp(b, size) })
	})
}

// lookUp reads the id of a node and finds its entry in a map, which holds as
// little as possible.
func lookUp(b *testing.B, size int) {
	t := turns{nodes: makeNodes(size)}
	entries := make(map[enode.ID]*uint64)
	for _, n := range t.nodes {
		entries[n.ID()] = new(uint64)
	}
	b.ReportAllocs()
	for b.Loop() {
		*entries[t.next().ID()]++
	}
}

func BenchmarkFloorMutex(b *testing.B) {
	var mu sync.Mutex
	guarded := 0
	b.ReportAllocs()
	for b.Loop() {
		mu.Lock()
		guarded++
		mu.Unlock()
	}
}

func BenchmarkFloorCallback(b *testing.B) {
	calls := 0
	subscribers := []func(n *enode.Node, oldState, newState uint64){
		func(*enode.Node, uint64, uint64) { calls++ },
	}
	n := makeNodes(1)[0]
	b.ReportAllocs()
	for b.Loop() {
		for _, call := range subscribers {
			call(n, 0, 1)
		}
	}
	if calls == 0 {
		b.Error("not called")
	}
}
