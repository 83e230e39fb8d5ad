package serverpool

import (
	"fmt"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lespool/lespool/internal/testutil"
)

// page is an entry for tests: the older, the less.
type page struct{ Version, Age uint64 }

func newBook(name, prefix string, size int) *ledger[page] {
	return newLedger(ledgerKind[page]{
		name:   name,
		encode: func(n page) any { return &n },
		decode: func(value []byte, _ moment) (n page, err error) {
			if err = rlp.DecodeBytes(value, &n); err == nil && n.Version != 1 {
				err = fmt.Errorf("version %d", n.Version)
			}
			return n, err
		},
		age: func(n page) int64 { return int64(n.Age) },
	}, []byte(prefix), size)
}

func idOf(i uint64) enode.ID { return testutil.FakeNode(i, 1).ID() }

func TestLedgersShareAStore(t *testing.T) {
	db := testutil.NewFaultyStore()
	a, b, other := newBook("a", "1/", 10), newBook("b", "1/", 10), newBook("a", "2/", 10)
	for i, l := range []*ledger[page]{a, b, other} {
		for k := range uint64(3) {
			l.put(idOf(k), page{1, uint64(i)})
		}
	}
	require.NoError(t, writeChanges(db, append(append(a.takeDirty(), b.takeDirty()...), other.takeDirty()...)))
	require.Equal(t, 1, db.Count("batch"), "one batch for all of them")
	a.remove(idOf(0))
	a.put(idOf(1), page{1, 7})
	require.NoError(t, writeChanges(db, a.takeDirty()))
	require.Len(t, keysOf(t, db.Database, "1/"), 2+3, "of a and of b")
	again := newBook("b", "1/", 10)
	bad, err := again.load(db, moment{})
	require.NoError(t, err)
	require.Zero(t, bad)
	require.Equal(t, 3, again.len())
	require.Empty(t, again.takeDirty(), "what was loaded is in the store")
}

func TestLedgerClearsBadEntriesAway(t *testing.T) {
	db := testutil.NewFaultyStore()
	l := newBook("a", "", 10)
	put := func(i uint64, value []byte) {
		id := idOf(i)
		require.NoError(t, db.Put(append([]byte("x:a:"), id[:]...), value))
	}
	put(1, encode(t, page{1, 5}))
	put(2, encode(t, page{2, 5}))
	put(3, []byte("rubbish"))
	put(4, nil)
	require.NoError(t, db.Put([]byte("x:a:not an id"), encode(t, page{1, 5})))
	bad, err := l.load(db, moment{})
	require.NoError(t, err)
	require.Equal(t, 4, bad)
	require.Equal(t, []enode.ID{idOf(1)}, l.ids())
	require.NoError(t, writeChanges(db, l.takeDirty()))
	require.Len(t, keysOf(t, db.Database, "x:a:"), 2, "the good one and the one that is not ours")
}

func TestUnreadableStoreDeletesNothing(t *testing.T) {
	db := testutil.NewFaultyStore()
	l := newBook("a", "", 10)
	l.put(idOf(1), page{1, 1})
	require.NoError(t, writeChanges(db, l.takeDirty()))
	db.FailIf(func(op string) bool { return op == "iterate" })
	again := newBook("a", "", 10)
	bad, err := again.load(db, moment{})
	require.Error(t, err)
	require.Zero(t, bad)
	require.Empty(t, again.takeDirty())
}

// What a batch could not write is dirty again, also if it changed meanwhile.
func TestChangesThatFailedComeAgain(t *testing.T) {
	db := testutil.NewFaultyStore()
	l := newBook("a", "", 10)
	l.put(idOf(1), page{1, 1})
	l.put(idOf(2), page{1, 2})
	changes := l.takeDirty()
	db.FailIf(func(op string) bool { return op == "batch" })
	require.Error(t, writeChanges(db, changes))
	l.remove(idOf(2))
	for _, c := range changes {
		c.of.markDirty(c.id)
	}
	db.FailIf(nil)
	require.NoError(t, writeChanges(db, l.takeDirty()))
	id := idOf(1)
	require.Equal(t, []string{string(id[:])}, keysOf(t, db.Database, "x:a:"))
}

// What was pushed out before it was written is not worth a write.
func TestLedgerDeletesOnlyWhatMayBeStored(t *testing.T) {
	db, l := testutil.NewFaultyStore(), newBook("a", "", 1)
	l.put(idOf(1), page{1, 1})
	l.put(idOf(2), page{1, 2})
	require.Len(t, l.takeDirty(), 1)
	l.put(idOf(3), page{1, 3})
	l.put(idOf(2), page{1, 4})
	l.put(idOf(4), page{1, 5})
	changes := l.takeDirty()
	require.Len(t, changes, 2, "the second again, which a write is under way for")
	require.NoError(t, writeChanges(db, changes))
	require.Len(t, keysOf(t, db.Database, "x:a:"), 1)
}

// A ledger against a list, the latest last, with a restart now and then.
func TestLedgerAgainstModel(t *testing.T) {
	type entry struct {
		id enode.ID
		page
	}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 6).Draw(t, "size")
		db, l := testutil.NewFaultyStore(), newBook("a", "", size)
		var model []entry
		drop := func(id enode.ID) {
			for i, e := range model {
				if e.id == id {
					model = append(model[:i:i], model[i+1:]...)
					return
				}
			}
		}
		for step := range uint64(50) {
			id := idOf(rapid.Uint64Range(0, 9).Draw(t, "node"))
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				l.remove(id)
				drop(id)
			case 1:
				if err := writeChanges(db, l.takeDirty()); err != nil {
					t.Fatal(err)
				}
				size = rapid.IntRange(1, 6).Draw(t, "new size")
				l = newBook("a", "", size)
				if bad, err := l.load(db, moment{}); bad != 0 || err != nil {
					t.Fatalf("%d bad, %v", bad, err)
				}
				model = model[max(len(model)-size, 0):]
			default:
				drop(id)
				l.put(id, page{1, step})
				model = append(model, entry{id, page{1, step}})
				model = model[max(len(model)-size, 0):]
			}
			if l.len() != len(model) {
				t.Fatalf("%d entries, want %d", l.len(), len(model))
			}
			for i, id := range l.ids() {
				if got, _ := l.get(id); id != model[i].id || got != model[i].page {
					t.Fatalf("entry %d is %v, want %v", i, got, model[i].page)
				}
			}
		}
	})
}

// One flush writes all that changed.
func TestOneFlushWritesAllLedgers(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		notes := newBook("n", "key/", 10)
		w.pool.ledgers = append(w.pool.ledgers, notes)
		w.pool.AddSource(newSource(testutil.PublicNode(1)))
		w.pool.Start()
		guarded(w.pool, func() bool { notes.put(idOf(1), page{1, 1}); return true })
		require.Nil(t, w.next(persistInterval+time.Millisecond))
		require.Len(t, keysOf(t, w.store.Database, "key/x:h:"), 1)
		require.Len(t, keysOf(t, w.store.Database, "key/x:n:"), 1)
	})
}
