package serverpool

import (
	"slices"
	"sort"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
)

// ledger keeps one kind of entries about nodes, the latest ones up to a limit,
// and which of them differ from the store. It is for what the stored records of
// the state machine have no room for. It is not safe for concurrent use.
type ledger[T any] struct {
	kind    ledgerKind[T]
	prefix  []byte
	entries *recent[ledgerEntry[T]]
	dirty   map[enode.ID]struct{} // nodes of which the store may have something else
}

type ledgerEntry[T any] struct {
	value  T
	stored bool // the store may have one
}

// ledgerKind says how entries of one kind are stored: under the pool's prefix,
// "x:", the name, ":" and the node id, as an RLP list whose first item is the
// version of its format. Entries of another version are as good as damaged
// ones; all of them can be deleted without harm.
type ledgerKind[T any] struct {
	name string
	// encode returns a value of a type that always encodes to such a list.
	encode func(T) any
	// decode checks all that it reads. Waits that have not ended run on from
	// now.
	decode func(value []byte, now moment) (T, error)
	// age orders loaded entries; of too many those with the least are dropped.
	age func(T) int64
}

// moment is a time on both clocks: unix seconds and the one that waits run on.
type moment struct {
	unix int64
	mono mclock.AbsTime
}

// newLedger makes an empty ledger. The size has to be positive.
func newLedger[T any](kind ledgerKind[T], poolPrefix []byte, size int) *ledger[T] {
	l := &ledger[T]{
		kind:   kind,
		prefix: slices.Concat(poolPrefix, []byte("x:"+kind.name+":")),
		dirty:  make(map[enode.ID]struct{}),
	}
	l.entries = newRecent(size, l.gone)
	return l
}

// gone takes note of an entry that was dropped.
func (l *ledger[T]) gone(id enode.ID, e ledgerEntry[T]) {
	if e.stored {
		l.dirty[id] = struct{}{}
	} else {
		delete(l.dirty, id)
	}
}

// get returns the entry of a node, which does not make it later.
func (l *ledger[T]) get(id enode.ID) (entry T, ok bool) {
	if e := l.entries.get(id); e != nil {
		return e.value, true
	}
	return entry, false
}

// put sets the entry of a node and makes it the latest. It may push out the
// one that has not been put for longest.
func (l *ledger[T]) put(id enode.ID, entry T) {
	e, isNew := l.entries.enter(id)
	if isNew {
		_, e.stored = l.dirty[id] // deleted, but perhaps not yet from the store
	}
	e.value = entry
	l.dirty[id] = struct{}{}
}

func (l *ledger[T]) has(id enode.ID) bool { return l.entries.get(id) != nil }

func (l *ledger[T]) remove(id enode.ID) { l.entries.remove(id) }

// ids returns the nodes that have an entry, the latest last.
func (l *ledger[T]) ids() []enode.ID { return l.entries.ids() }

func (l *ledger[T]) len() int { return l.entries.len() }

// ledgerChange is a change on its way to the store; a nil value deletes.
type ledgerChange struct {
	of         dirtyMarker // the ledger that it was taken from
	id         enode.ID
	key, value []byte
}

type dirtyMarker interface{ markDirty(id enode.ID) }

// takeDirty returns what differs from the store, ordered by id. What cannot be
// written goes back by markDirty.
func (l *ledger[T]) takeDirty() []ledgerChange {
	changes := make([]ledgerChange, 0, len(l.dirty))
	for id := range l.dirty {
		c := ledgerChange{of: l, id: id, key: slices.Concat(l.prefix, id[:])}
		if e := l.entries.get(id); e != nil {
			c.value, _ = rlp.EncodeToBytes(l.kind.encode(e.value)) // cannot fail
			e.stored = true
		}
		changes = append(changes, c)
	}
	l.dirty = make(map[enode.ID]struct{}) // a map that was large stays so
	slices.SortFunc(changes, func(a, b ledgerChange) int { return compareIDs(a.id, b.id) })
	return changes
}

// markDirty has what the store has of a node written again, or deleted.
func (l *ledger[T]) markDirty(id enode.ID) { l.dirty[id] = struct{}{} }

// load fills the ledger from the store and returns how many entries could not
// be read. These are deleted at the next write, and so are those beyond the
// limit; keys that no ledger makes are left alone.
func (l *ledger[T]) load(db ethdb.Iteratee, now moment) (bad int, err error) {
	type loaded struct {
		id    enode.ID
		entry T
	}
	var list []loaded
	it := db.NewIterator(l.prefix, nil)
	defer it.Release()
	for it.Next() {
		key := it.Key()[len(l.prefix):]
		if len(key) != len(enode.ID{}) {
			bad++
			continue
		}
		entry, err := l.kind.decode(it.Value(), now)
		if err != nil {
			bad++
			l.dirty[enode.ID(key)] = struct{}{}
			continue
		}
		list = append(list, loaded{enode.ID(key), entry})
	}
	sort.SliceStable(list, func(i, j int) bool { return l.kind.age(list[i].entry) < l.kind.age(list[j].entry) })
	for _, e := range list {
		*l.entries.latest(e.id) = ledgerEntry[T]{value: e.entry, stored: true}
	}
	return bad, it.Error()
}

// anyLedger is what the pool needs of every ledger.
type anyLedger interface {
	has(id enode.ID) bool
	remove(id enode.ID)
	load(db ethdb.Iteratee, now moment) (bad int, err error)
	takeDirty() []ledgerChange
}

// writeChanges writes changes of any ledgers in one batch.
func writeChanges(db ethdb.Batcher, changes []ledgerChange) error {
	if len(changes) == 0 {
		return nil
	}
	batch := db.NewBatch()
	if c, ok := batch.(interface{ Close() }); ok {
		defer c.Close()
	}
	for _, c := range changes {
		var err error
		if c.value == nil {
			err = batch.Delete(c.key)
		} else {
			err = batch.Put(c.key, c.value)
		}
		if err != nil {
			return err
		}
	}
	return batch.Write()
}
