package nodestate

import (
	"encoding/binary"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
)

// Ids that differ in any one place, in a pattern or not, are spread over the
// shards and over the places of a table about as random numbers are.
func TestHashSpreadsSimilarIDs(t *testing.T) {
	const count, places = 1 << 14, 1 << 12
	for offset := 0; offset <= len(enode.ID{})-4; offset++ {
		var h hasher
		h.init()
		var shards [numShards]int
		var slots [places]int
		for i := range uint32(count) {
			var id enode.ID
			binary.BigEndian.PutUint32(id[offset:], i)
			hash := h.hash(&id)
			shards[shardOfHash(hash)]++
			slots[hash%places]++
		}
		for _, k := range shards {
			require.InDelta(t, count/numShards, k, count/numShards/2, "offset %d", offset)
		}
		for _, k := range slots {
			require.LessOrEqual(t, k, 40*count/places, "offset %d", offset)
		}
	}
}

// Nobody outside can know which ids have the same hash.
func TestHashHasKeysOfItsOwn(t *testing.T) {
	same := 0
	for i := range uint64(64) {
		var a, b hasher
		a.init()
		b.init()
		id := fakeID(i)
		require.Equal(t, a.hash(&id), a.hash(&id))
		if a.hash(&id) == b.hash(&id) {
			same++
		}
	}
	require.LessOrEqual(t, same, 2)
}

func fakeID(i uint64) (id enode.ID) {
	binary.BigEndian.PutUint64(id[:], i)
	return id
}
