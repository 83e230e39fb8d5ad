package nodestate

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// hasher turns ids into what nodes are found by. Ids are chosen by whoever
// makes up a node, so the keys are secret: whatever two ids are, few keys give
// them the same hash. It is the function MULTILINEAR-HM of Lemire and Kaser,
// "Strongly universal string hashing is fast" (2014), for strings of eight
// 32-bit characters.
type hasher struct{ keys [8]uint64 }

func (h *hasher) init() {
	for i := range h.keys {
		h.keys[i] = maphash.Bytes(maphash.MakeSeed(), nil) // random
	}
}

func (h *hasher) hash(id *enode.ID) uint32 {
	sum := h.pair(0, binary.LittleEndian.Uint64(id[0:])) + h.pair(2, binary.LittleEndian.Uint64(id[8:])) +
		h.pair(4, binary.LittleEndian.Uint64(id[16:])) + h.pair(6, binary.LittleEndian.Uint64(id[24:]))
	// Up to here ids in a row give numbers in a row. What follows takes each
	// number to another one, and rows apart.
	x := uint32(sum >> 32)
	x ^= x >> 16
	x *= 0x9e3779b1
	x ^= x >> 15
	x *= 0x85ebca6b
	return x ^ x>>14
}

// pair is what two characters add to the sum.
func (h *hasher) pair(i int, chars uint64) uint64 {
	return (h.keys[i] + uint64(uint32(chars))) * (h.keys[i+1] + chars>>32)
}
