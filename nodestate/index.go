package nodestate

import "github.com/ethereum/go-ethereum/p2p/enode"

// index finds nodes by id. It is a hash table with open addressing that holds
// pointers only, as the ids are in the nodes' records: a word or two for a node
// where a map, with the ids as its keys, takes eighty bytes, and a look-up takes
// half as long. The zero value is empty.
//
// Ids are chosen by whoever makes up a node, so they are hashed with a secret
// seed, as a map does it. No order depends on the seed.
type index struct {
	slots []*node // length is a power of two, or zero; never full
	count int
}

// find returns the node that n is a record of, nil if there is none. Mostly n is
// the very record that the node has, and the node in its own slot.
func (x *index) find(hash uint32, n *enode.Node) *node {
	if len(x.slots) == 0 {
		return nil
	}
	nd := x.slots[hash&uint32(len(x.slots)-1)]
	if nd == nil || nd.record.Load() == n {
		return nd
	}
	return x.findID(hash, n.ID())
}

// findID returns the node with the given id, nil if there is none.
func (x *index) findID(hash uint32, id enode.ID) *node {
	if len(x.slots) == 0 {
		return nil
	}
	mask := uint32(len(x.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		nd := x.slots[i]
		if nd == nil || nd.hash == hash && nd.record.Load().ID() == id {
			return nd
		}
	}
}

// minSlots is the length of the smallest table. More spares growing it in
// small machines.
const minSlots = 8

// insert adds a node that is not there.
func (x *index) insert(nd *node) {
	if x.count >= len(x.slots)/4*3 {
		old := x.slots
		x.slots = make([]*node, max(minSlots, 2*len(old)))
		for _, nd := range old {
			if nd != nil {
				x.place(nd)
			}
		}
	}
	x.place(nd)
	x.count++
}

// place puts a node in the first free slot from its own.
func (x *index) place(nd *node) {
	mask := uint32(len(x.slots) - 1)
	i := nd.hash & mask
	for x.slots[i] != nil {
		i = (i + 1) & mask
	}
	x.slots[i] = nd
}

// remove takes out a node that is there. Nodes behind the gap move up, unless
// they would come to lie before their own slot, so that a search need not pass
// over gaps.
func (x *index) remove(nd *node) {
	mask := uint32(len(x.slots) - 1)
	gap := nd.hash & mask
	for x.slots[gap] != nd {
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; x.slots[i] != nil; i = (i + 1) & mask {
		if (i-x.slots[i].hash)&mask >= (i-gap)&mask {
			x.slots[gap], gap = x.slots[i], i
		}
	}
	x.slots[gap] = nil
	x.count--
}
