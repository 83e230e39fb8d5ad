package nodestate

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// numShards splits the table so that readers on several cores seldom touch
// the same lock. More shards cost memory in small machines.
const numShards = 16

// table holds the nodes. Only the running operation adds and removes nodes.
// Anybody may look one up without a lock, for its state and its record; all else
// takes the lock of the shard.
type table struct {
	hasher hasher
	shards [numShards]shard
	last   *node // that the operation used last, if any; belongs to it
}

type shard struct {
	mu    sync.Mutex // guards all below, but for look-ups, and the columns' cells of its nodes
	nodes index
	free  []uint32 // slots of forgotten nodes
	slots uint32   // given out so far
}

// node is what the machine keeps of a node; the values of its fields are in
// the columns.
type node struct {
	record atomic.Pointer[enode.Node] // newest seen; written under the shard's lock
	state  atomic.Uint64              // written by the operation
	timers *timeout                   // running timeouts; written by the operation under the shard's lock
	slot   uint32
	hash   uint32 // of the id
	dirty  uint32 // 1 + index in machine.dirty, 0 if it is not there; owned by the operation
	stored bool   // has an entry on disk or on its way there; guarded by the shard's lock
	listed bool   // in machine.flagless; owned by the operation
	told   bool   // its fields' subscribers saw value→absent since it lost its last flag; likewise
}

func (t *table) init() { t.hasher.init() }

// shard returns the number of a node's shard. It is that of its hash's upper
// bits; the index in the shard goes by the lower ones.
func (nd *node) shard() uint32 { return shardOfHash(nd.hash) }

func shardOfHash(hash uint32) uint32 { return hash >> 28 % numShards }

func (t *table) shardOf(nd *node) *shard        { return &t.shards[nd.shard()] }
func (t *table) shardOfHash(hash uint32) *shard { return &t.shards[shardOfHash(hash)] }

// find is for the running operation. Mostly it is about the node that it was
// about before.
func (t *table) find(n *enode.Node) *node {
	if nd := t.last; nd != nil && nd.record.Load() == n {
		return nd
	}
	return t.findOther(n)
}

func (t *table) findOther(n *enode.Node) *node {
	t.last = t.lookUp(n)
	return t.last
}

// lookUp is for everybody.
func (t *table) lookUp(n *enode.Node) *node {
	id := n.ID()
	return t.lookUpID(&id, n)
}

// lookUpID is lookUp for an id, of which a record may be at hand.
func (t *table) lookUpID(id *enode.ID, record *enode.Node) *node {
	hash := t.hasher.hash(id)
	return t.shardOfHash(hash).nodes.find(hash, id, record)
}

// insert is for the running operation. A non-nil fill completes the node before
// anybody sees it.
func (t *table) insert(n *enode.Node, fill func(*node)) *node {
	id := n.ID()
	nd := &node{hash: t.hasher.hash(&id)}
	nd.record.Store(n)
	sh := t.shardOf(nd)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if last := len(sh.free) - 1; last >= 0 {
		nd.slot, sh.free = sh.free[last], sh.free[:last]
	} else {
		nd.slot = sh.slots
		sh.slots++
	}
	if fill != nil {
		fill(nd)
	}
	sh.nodes.insert(nd)
	return nd
}

// clear forgets everything.
func (t *table) clear() {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		sh.nodes.clear()
		sh.free = nil
		sh.mu.Unlock()
	}
	t.last = nil
}

// snapshot returns the nodes that have all flags of require and none of
// disable, ordered by id. States are those at some moment during the call, for
// each node by itself: an operation that runs meanwhile may be half visible.
func (t *table) snapshot(require, disable uint64) []nodeState {
	list := t.collect(require, disable)
	slices.SortFunc(list, nodeState.compare)
	return list
}

// collect is snapshot in no particular order.
func (t *table) collect(require, disable uint64) []nodeState {
	for i := range t.shards {
		t.shards[i].mu.Lock()
	}
	var list []nodeState
	for i := range t.shards {
		t.shards[i].nodes.each(func(nd *node) {
			if st := nd.state.Load(); st&require == require && st&disable == 0 {
				n := nd.record.Load()
				id := n.ID()
				list = append(list, nodeState{binary.BigEndian.Uint64(id[:]), n, st, nd})
			}
		})
	}
	for i := range t.shards {
		t.shards[i].mu.Unlock()
	}
	return list
}

type nodeState struct {
	idPrefix uint64 // tells nearly all nodes apart without looking at the record
	record   *enode.Node
	state    uint64
	nd       *node
}

func (a nodeState) compare(b nodeState) int {
	if a.idPrefix != b.idPrefix {
		return cmp.Compare(a.idPrefix, b.idPrefix)
	}
	x, y := a.record.ID(), b.record.ID()
	return bytes.Compare(x[:], y[:])
}

// adopt keeps n as the node's record if it is newer. Unlike other changes it
// may be made outside operations.
func (t *table) adopt(nd *node, n *enode.Node) bool {
	if cur := nd.record.Load(); n == cur || n.Seq() <= cur.Seq() {
		return false
	}
	sh := t.shardOf(nd)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if n.Seq() <= nd.record.Load().Seq() {
		return false
	}
	nd.record.Store(n)
	return true
}
