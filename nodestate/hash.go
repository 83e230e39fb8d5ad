package nodestate

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// hasher turns ids into what nodes are found by. Ids are chosen by whoever
// makes up a node, so the keys are secret. It is the folded multiplication of
// Wang Yi's wyhash, which hashes the keys of Go's maps too where the processor
// has no instruction for it.
type hasher struct{ keys [4]uint64 }

func (h *hasher) init() {
	for i := range h.keys {
		h.keys[i] = maphash.Bytes(maphash.MakeSeed(), nil) // random
	}
}

func (h *hasher) hash(id *enode.ID) uint32 {
	x := fold(h.keys[0]^binary.LittleEndian.Uint64(id[0:]), h.keys[1]^binary.LittleEndian.Uint64(id[8:])) ^
		fold(h.keys[2]^binary.LittleEndian.Uint64(id[16:]), h.keys[3]^binary.LittleEndian.Uint64(id[24:]))
	x = (x ^ x>>32) * 0x9e3779b97f4a7c15 // in a bad case some bits say little, so all of them have to count
	return uint32(x >> 32)
}

func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}
