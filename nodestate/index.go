package nodestate

import (
	"sync/atomic"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// index finds nodes by id. It is a hash table with open addressing that holds
// pointers only, as the ids are in the nodes' records: a word or two for a node
// where a map, with the ids as its keys, takes eighty bytes. The zero value is
// empty.
//
// find may be called by anybody at any time, without a lock: a node
// never moves within a table, and what they miss was not there when they were
// called. Changes are the running operation's, under the shard's lock.
//
// Ids are chosen by whoever makes up a node, so they are hashed with a secret
// seed, as a map does it. No order depends on the seed.
type index struct {
	slots atomic.Pointer[[]slot] // length is a power of two; never full; nil while empty from the start
	count int                    // nodes
	used  int                    // slots that hold a node or did so
}

type slot struct{ atomic.Pointer[node] }

// gone is in the slots of nodes that were removed, so that searches go on.
var gone = new(node)

// find returns the node with the given id, nil if there is none. record may be
// nil; mostly it is the very record that the node has, which spares comparing ids.
func (x *index) find(hash uint32, id *enode.ID, record *enode.Node) *node {
	slots := x.table()
	if len(slots) == 0 {
		return nil
	}
	mask := uint32(len(slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if nd := slots[i].Load(); nd == nil || nd.hash == hash && nd.is(id, record) {
			return nd
		}
	}
}

func (nd *node) is(id *enode.ID, record *enode.Node) bool {
	own := nd.record.Load() // gone has none
	return own != nil && (own == record || own.ID() == *id)
}

func (x *index) table() []slot {
	if slots := x.slots.Load(); slots != nil {
		return *slots
	}
	return nil
}

// each calls f for every node. It is for holders of the shard's lock.
func (x *index) each(f func(nd *node)) {
	slots := x.table()
	for i := range slots {
		if nd := slots[i].Load(); nd != nil && nd != gone {
			f(nd)
		}
	}
}

// minSlots is the length of the smallest table. More spares growing it in
// small machines.
const minSlots = 8

// insert adds a node that is not there.
func (x *index) insert(nd *node) {
	if size := len(x.table()); x.used >= size/2 {
		x.rebuild(size)
	}
	putIn(x.table(), nd)
	x.count++
	x.used++
}

// rebuild moves the nodes to a table without slots of removed nodes, twice as
// long unless there were many of these.
func (x *index) rebuild(size int) {
	if x.count >= size/8*3 {
		size = max(minSlots, 2*size)
	}
	slots := make([]slot, size)
	x.each(func(nd *node) { putIn(slots, nd) })
	x.slots.Store(&slots)
	x.used = x.count
}

// putIn puts a node in the first free slot from its own.
func putIn(slots []slot, nd *node) {
	mask := uint32(len(slots) - 1)
	i := nd.hash & mask
	for slots[i].Load() != nil {
		i = (i + 1) & mask
	}
	slots[i].Store(nd)
}

// remove takes out a node that is there.
func (x *index) remove(nd *node) {
	slots := x.table()
	mask := uint32(len(slots) - 1)
	i := nd.hash & mask
	for slots[i].Load() != nd {
		i = (i + 1) & mask
	}
	slots[i].Store(gone)
	x.count--
}

// clear removes all nodes.
func (x *index) clear() {
	x.slots.Store(nil)
	x.count, x.used = 0, 0
}
