package lespay

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sync"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// index knows which servers have a record and what each is still worth, so
// that those worth least can be removed without reading them all. All values
// decay at the same speed: what is kept is the logarithm of a value plus the
// log offset of its time, and that does not change while a server is idle.
//
// It has a lock of its own, which is the innermost one.
type index struct {
	mu struct {
		sync.Mutex
		entries map[enode.ID]worth
		doomed  map[enode.ID]struct{} // removed, but not from the disk yet
		partial bool                  // there may be records that were not seen
	}
}

// worth is as in ResponseTimeStats.weightLog2.
type worth struct{ rank, total float64 }

// candidate is a server that may be removed.
type candidate struct {
	id enode.ID
	worth
}

var (
	// worthless is removed at the next occasion, without reading the record.
	worthless = worth{math.Inf(-1), math.Inf(-1)}
	// unknownWorth is the first to go when there are too many.
	unknownWorth = worth{math.Inf(-1), math.Inf(1)}
)

func newIndex() *index {
	ix := new(index)
	ix.mu.entries = make(map[enode.ID]worth)
	ix.mu.doomed = make(map[enode.ID]struct{})
	return ix
}

// has tells whether a server may have a record.
func (ix *index) has(id enode.ID) bool {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if _, ok := ix.mu.entries[id]; ok {
		return true
	}
	_, doomed := ix.mu.doomed[id]
	return ix.mu.partial && !doomed
}

func (ix *index) setPartial() {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.mu.partial = true
}

func (ix *index) put(id enode.ID, w worth) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.mu.entries[id] = w
	delete(ix.mu.doomed, id)
}

// remove forgets servers; their records are doomed until [index.deleted].
func (ix *index) remove(ids []enode.ID) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for _, id := range ids {
		delete(ix.mu.entries, id)
		ix.mu.doomed[id] = struct{}{}
	}
}

// doomed returns the servers whose records have to be deleted.
func (ix *index) doomed() []enode.ID {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ids := make([]enode.ID, 0, len(ix.mu.doomed))
	for id := range ix.mu.doomed {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

// deleted tells that the records of these servers are gone from the disk.
func (ix *index) deleted(ids []enode.ID) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for _, id := range ids {
		delete(ix.mu.doomed, id)
	}
}

func (ix *index) len() int {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	return len(ix.mu.entries)
}

// candidates returns who may be removed, in the order in which they should go.
// spent are worth less than one request at the log offset; the others are only
// listed if there are more servers than limit.
func (ix *index) candidates(logOffset Fixed64, limit int) (spent, others []candidate) {
	now := float64(logOffset) / fixedOne
	ix.mu.Lock()
	crowded := len(ix.mu.entries) > limit
	for id, w := range ix.mu.entries {
		if w.total < now {
			spent = append(spent, candidate{id, w})
		} else if crowded {
			others = append(others, candidate{id, w})
		}
	}
	ix.mu.Unlock()

	slices.SortFunc(spent, compareCandidates)
	slices.SortFunc(others, compareCandidates)
	return spent, others
}

func compareCandidates(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.total, b.total), compareIDs(a.id, b.id))
}

func compareIDs(a, b enode.ID) int { return bytes.Compare(a[:], b[:]) }
