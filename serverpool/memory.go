package serverpool

import (
	"fmt"
	"sort"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/lespool/lespool/lespay"
)

// memory keeps the histories of nodes without value, the latest ones up to a
// limit, so that their redial waits grow although the state machine forgets
// them, also over restarts. It is not safe for concurrent use.
type memory struct {
	lru   *simplelru.LRU[enode.ID, remembered]
	dirty map[enode.ID]struct{} // differ from the store
}

// remembered is the history of a node at an endpoint. At another endpoint it
// is taken for another server: a new record alone costs nothing to make.
type remembered struct {
	history
	endpoint string
	seq      uint64 // of the newest record that named the endpoint
}

// leftBy tells whether n has moved to another endpoint. Older records keep
// turning up in lists and say nothing; those without a number may be any age.
func (r *remembered) leftBy(n *enode.Node) bool {
	newer := n.Seq() > r.seq || n.Seq() == 0 && r.seq == 0
	return newer && r.endpoint != endpointOf(n)
}

// memoryVersion is the first item of each stored entry. Entries of another
// version are deleted.
const memoryVersion = 1

// storedMemory is the value of an entry, an RLP list. The key is the pool's
// prefix, "x:h:" and the node id.
type storedMemory struct {
	Version            uint64
	DialCost           lespay.ExpiredValue
	WaitStart, WaitEnd uint64
	Endpoint           string
	Seq                uint64
}

func newMemory(size int) *memory {
	m := &memory{dirty: make(map[enode.ID]struct{})}
	// The size is validated to be positive, the only error there is.
	m.lru, _ = simplelru.NewLRU(size, func(id enode.ID, _ remembered) { m.dirty[id] = struct{}{} })
	return m
}

// endpointOf tells servers apart that claim the same id.
func endpointOf(n *enode.Node) string {
	return fmt.Sprintf("%v/%d/%d", n.IP(), n.TCP(), n.UDP())
}

// get returns the history of a node that has not moved.
func (m *memory) get(n *enode.Node) (history, bool) {
	r, ok := m.lru.Peek(n.ID())
	if !ok || r.leftBy(n) {
		return history{}, false
	}
	return r.history, true
}

// moved tells whether a remembered node is at another endpoint now.
func (m *memory) moved(n *enode.Node) bool {
	r, ok := m.lru.Peek(n.ID())
	return ok && r.leftBy(n)
}

func (m *memory) put(n *enode.Node, h history) {
	r := remembered{h, endpointOf(n), n.Seq()}
	if old, ok := m.lru.Peek(n.ID()); ok && old.seq > r.seq {
		r.endpoint, r.seq = old.endpoint, old.seq
	}
	m.lru.Add(n.ID(), r)
	m.dirty[n.ID()] = struct{}{}
}

func (m *memory) remove(id enode.ID) { m.lru.Remove(id) }

// memoryEntry is a change on its way to the store; a nil value deletes.
type memoryEntry struct {
	id    enode.ID
	value []byte
}

// takeDirty returns what differs from the store, ordered by id.
func (m *memory) takeDirty() []memoryEntry {
	entries := make([]memoryEntry, 0, len(m.dirty))
	for id := range m.dirty {
		e := memoryEntry{id: id}
		if r, ok := m.lru.Peek(id); ok {
			// None of these types can fail to encode.
			e.value, _ = rlp.EncodeToBytes(&storedMemory{
				memoryVersion, r.dialCost, uint64(max(r.waitStart, 0)), uint64(max(r.waitEnd, 0)), r.endpoint, r.seq,
			})
		}
		entries = append(entries, e)
	}
	clear(m.dirty)
	sort.Slice(entries, func(i, j int) bool { return string(entries[i].id[:]) < string(entries[j].id[:]) })
	return entries
}

// markDirty takes entries back that could not be written.
func (m *memory) markDirty(entries []memoryEntry) {
	for _, e := range entries {
		m.dirty[e.id] = struct{}{}
	}
}

// moment is a time on both clocks: unix seconds and the one that waits run on.
type moment struct {
	unix int64
	mono mclock.AbsTime
}

// load fills the memory from the store, the latest waits last, and returns how
// many entries could not be read; these are deleted at the next write, as are
// those beyond the limit. Waits that have not ended run on from now, whatever
// the wall clock does later.
func (m *memory) load(db ethdb.Iteratee, prefix []byte, now moment) (bad int, err error) {
	type loaded struct {
		id enode.ID
		remembered
	}
	var list []loaded
	it := db.NewIterator(prefix, nil)
	defer it.Release()
	for it.Next() {
		key := it.Key()[len(prefix):]
		if len(key) != len(enode.ID{}) {
			bad++
			continue
		}
		r, err := decodeRemembered(it.Value())
		if err != nil {
			bad++
			m.dirty[enode.ID(key)] = struct{}{}
			continue
		}
		if left := r.remaining(now.unix); left > 0 {
			r.until = now.mono.Add(left)
		}
		list = append(list, loaded{enode.ID(key), r})
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].waitStart < list[j].waitStart })
	for _, l := range list {
		m.lru.Add(l.id, l.remembered)
	}
	return bad, it.Error()
}

func decodeRemembered(value []byte) (r remembered, err error) {
	var enc storedMemory
	if err := rlp.DecodeBytes(value, &enc); err != nil {
		return r, err
	}
	if enc.Version != memoryVersion {
		return r, fmt.Errorf("version %d", enc.Version)
	}
	if enc.WaitStart > enc.WaitEnd || enc.WaitEnd-enc.WaitStart > maxKnownWait || enc.WaitEnd > 1<<40 {
		return r, fmt.Errorf("wait from %d to %d", enc.WaitStart, enc.WaitEnd)
	}
	r.dialCost, r.endpoint, r.seq = enc.DialCost, enc.Endpoint, enc.Seq
	r.waitStart, r.waitEnd = int64(enc.WaitStart), int64(enc.WaitEnd)
	return r, nil
}

// writeMemory writes changes in one batch.
func writeMemory(db ethdb.Batcher, prefix []byte, entries []memoryEntry) error {
	if len(entries) == 0 {
		return nil
	}
	batch := db.NewBatch()
	if c, ok := batch.(interface{ Close() }); ok {
		defer c.Close()
	}
	for _, e := range entries {
		key := append(append([]byte(nil), prefix...), e.id[:]...)
		var err error
		if e.value == nil {
			err = batch.Delete(key)
		} else {
			err = batch.Put(key, e.value)
		}
		if err != nil {
			return err
		}
	}
	return batch.Write()
}
