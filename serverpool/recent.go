package serverpool

import (
	"hash/maphash"
	"math"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// recent keeps values of nodes, the latest ones up to a limit. It is a hash table
// of chains through one slice, and a ring through the same slice in the order in
// which values became the latest; so it takes little more than the values and the
// ids. It is not safe for concurrent use.
type recent[T any] struct {
	limit int
	gone  func(id enode.ID, value T) // called for each value that is dropped, or nil

	seed   maphash.Seed // ids are chosen by whoever makes up a node
	chains []int32      // first entry of each, 0 for none; their number is a power of two
	// entries[0] is no entry but where the ring begins and ends: its newer one is
	// the oldest of all, its older one the latest.
	entries []recentEntry[T]
	free    int32 // entries to be used again, linked by next
	count   int
}

type recentEntry[T any] struct {
	id           enode.ID
	older, newer int32
	next         int32 // in the chain
	value        T
}

// newRecent makes an empty set. The limit has to be positive.
func newRecent[T any](limit int, gone func(id enode.ID, value T)) *recent[T] {
	return &recent[T]{
		limit:   min(limit, math.MaxInt32-1),
		gone:    gone,
		seed:    maphash.MakeSeed(),
		chains:  make([]int32, 1),
		entries: make([]recentEntry[T], 1),
	}
}

func (r *recent[T]) len() int { return r.count }

// get returns the value of a node, nil if there is none, and does not make it the
// latest. The pointer holds until the next call of latest.
func (r *recent[T]) get(id enode.ID) *T {
	if i := r.find(id); i != 0 {
		return &r.entries[i].value
	}
	return nil
}

// latest makes the value of a node the latest, or an empty one if there is none.
// It may push out the oldest. The pointer holds until the next call.
func (r *recent[T]) latest(id enode.ID) *T {
	i := r.find(id)
	if i != 0 {
		r.unlink(i)
	} else {
		if r.count == r.limit {
			r.drop(r.entries[0].newer)
		}
		i = r.insert(id)
	}
	e, ring := &r.entries[i], &r.entries[0]
	e.older, e.newer = ring.older, 0
	r.entries[e.older].newer, ring.older = i, i
	return &e.value
}

// remove drops the value of a node, if there is one.
func (r *recent[T]) remove(id enode.ID) {
	if i := r.find(id); i != 0 {
		r.drop(i)
	}
}

// all calls f for every value, the latest last. It may change the value.
func (r *recent[T]) all(f func(id enode.ID, value *T)) {
	for i := r.entries[0].newer; i != 0; i = r.entries[i].newer {
		f(r.entries[i].id, &r.entries[i].value)
	}
}

// first returns the oldest node, last the latest; there has to be one.
func (r *recent[T]) first() enode.ID { return r.entries[r.entries[0].newer].id }
func (r *recent[T]) last() enode.ID  { return r.entries[r.entries[0].older].id }

// ids returns the nodes, the latest last.
func (r *recent[T]) ids() []enode.ID {
	ids := make([]enode.ID, 0, r.count)
	r.all(func(id enode.ID, _ *T) { ids = append(ids, id) })
	return ids
}

// chain returns where the chain of a node begins.
func (r *recent[T]) chain(id enode.ID) *int32 {
	return &r.chains[maphash.Bytes(r.seed, id[:])&uint64(len(r.chains)-1)]
}

func (r *recent[T]) find(id enode.ID) int32 {
	i := *r.chain(id)
	for i != 0 && r.entries[i].id != id {
		i = r.entries[i].next
	}
	return i
}

// insert makes an entry that is in a chain, but not in the ring.
func (r *recent[T]) insert(id enode.ID) int32 {
	i := r.free
	if i != 0 {
		r.free = r.entries[i].next
	} else {
		if len(r.entries) > len(r.chains) {
			r.grow()
		}
		i = int32(len(r.entries))
		r.entries = append(r.entries, recentEntry[T]{})
	}
	chain := r.chain(id)
	r.entries[i].id, r.entries[i].next = id, *chain
	*chain = i
	r.count++
	return i
}

// grow doubles the number of chains. All entries are in use.
func (r *recent[T]) grow() {
	r.chains = make([]int32, 2*len(r.chains))
	for i := 1; i < len(r.entries); i++ {
		e := &r.entries[i]
		chain := r.chain(e.id)
		e.next, *chain = *chain, int32(i)
	}
}

// drop takes an entry out of its chain and the ring.
func (r *recent[T]) drop(i int32) {
	e := r.entries[i]
	r.unlink(i)
	link := r.chain(e.id)
	for *link != i {
		link = &r.entries[*link].next
	}
	*link = e.next
	r.entries[i] = recentEntry[T]{next: r.free}
	r.free = i
	r.count--
	if r.gone != nil {
		r.gone(e.id, e.value)
	}
}

// unlink takes an entry out of the ring.
func (r *recent[T]) unlink(i int32) {
	e := &r.entries[i]
	r.entries[e.older].newer, r.entries[e.newer].older = e.newer, e.older
}
