package lespay

import (
	"fmt"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb/leveldb"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

func benchTracker(b *testing.B, store Store) (*ValueTracker, *testutil.Clock) {
	clock := new(testutil.Clock)
	vt, err := NewValueTracker(Config{Store: store, Clock: clock, Requests: lesRequests(b)})
	require.NoError(b, err)
	b.Cleanup(vt.Stop)
	return vt, clock
}

func benchCosts(i int) []uint64 {
	costs := make([]uint64, 10)
	for j := range costs {
		costs[j] = uint64(1000 * (i%7 + 1) * (j + 3))
	}
	return costs
}

func BenchmarkServed(b *testing.B) {
	for _, d := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond} {
		b.Run(d.String(), func(b *testing.B) {
			vt, _ := benchTracker(b, nil)
			nv := vt.Register(id(0))
			nv.UpdateCosts(benchCosts(0))
			reqs := []ServedRequest{{0, 1}, {1, 191}}
			b.ReportAllocs()
			for b.Loop() {
				nv.Served(reqs, d)
			}
		})
	}
}

// BenchmarkUpdate is a period with 1000 registered servers of which all or none
// have changed.
func BenchmarkUpdate(b *testing.B) {
	for _, changed := range []int{0, 1000} {
		for _, disk := range []string{"compute", "memory", "leveldb"} {
			b.Run(fmt.Sprintf("%s/changed=%d", disk, changed), func(b *testing.B) {
				var store Store
				if disk == "leveldb" {
					db, err := leveldb.New(b.TempDir(), 16, 16, "", false)
					require.NoError(b, err)
					defer db.Close()
					store = db
				}
				vt, clock := benchTracker(b, store)
				nodes := make([]*NodeValueTracker, 1000)
				for i := range nodes {
					nodes[i] = vt.Register(id(i))
					nodes[i].UpdateCosts(benchCosts(i))
				}
				b.ResetTimer()
				for b.Loop() {
					b.StopTimer()
					for i := range changed {
						nodes[i].Served([]ServedRequest{{uint32(i % 10), 20}, {uint32(i % 7), 1}}, time.Duration(i)*time.Millisecond)
					}
					b.StartTimer()
					if disk == "compute" {
						clock.Run(time.Second)
						vt.saveMu.Lock()
						snap := vt.collectLocked(false)
						vt.settle(snap, true)
						vt.saveMu.Unlock()
					} else {
						clock.Run(time.Minute)
					}
				}
			})
		}
	}
}

func BenchmarkGetNodeCached(b *testing.B) {
	vt, clock := benchTracker(b, nil)
	for i := range 100 {
		vt.Register(id(i)).Served([]ServedRequest{{0, 100}}, time.Second)
		vt.Unregister(id(i))
	}
	clock.Run(time.Minute)
	node := id(50)
	b.ReportAllocs()
	for b.Loop() {
		vt.GetNode(node)
	}
}

func BenchmarkStart(b *testing.B) {
	store := testutil.NewFaultyStore()
	cfg := Config{Store: store, Clock: new(testutil.Clock), Requests: lesRequests(b)}
	vt, err := NewValueTracker(cfg)
	require.NoError(b, err)
	for i := range 10000 {
		vt.Register(id(i)).Served([]ServedRequest{{0, 100}, {1, uint32(i)}}, time.Duration(i)*time.Millisecond)
	}
	vt.Stop()
	for b.Loop() {
		_, err := NewValueTracker(cfg)
		require.NoError(b, err)
	}
}

var _ mclock.Clock = (*testutil.Clock)(nil)
