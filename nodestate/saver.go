package nodestate

import (
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// saver holds entries on their way to the store. Entries may be handed over
// under any lock; only write does I/O. An entry that comes later replaces an
// earlier one of the same node, and entries are written in the order in which
// they came.
type saver struct {
	db     Store
	prefix []byte
	count  atomic.Int64 // entries waiting

	io     sync.Mutex // held while writing
	closed bool       // guarded by io

	mu struct {
		sync.Mutex
		waiting map[enode.ID]int // index in queue
		queue   []entry
	}
}

type entry struct {
	id    enode.ID
	value []byte // nil: delete
}

func newSaver(db Store, prefix []byte) *saver {
	s := &saver{db: db, prefix: append([]byte(nil), prefix...)}
	s.mu.waiting = make(map[enode.ID]int)
	return s
}

func (s *saver) put(id enode.ID, value []byte) { s.add(entry{id, value}, true) }
func (s *saver) delete(id enode.ID)            { s.add(entry{id: id}, true) }

func (s *saver) add(e entry, replace bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.mu.waiting[e.id]; !ok {
		s.mu.waiting[e.id] = len(s.mu.queue)
		s.mu.queue = append(s.mu.queue, e)
	} else if replace {
		s.mu.queue[i] = e
	}
	s.count.Store(int64(len(s.mu.queue)))
}

func (s *saver) take() []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.mu.queue
	s.mu.queue = nil
	clear(s.mu.waiting)
	s.count.Store(0)
	return queue
}

// write writes everything that waits. What could not be written waits again,
// unless something newer came for the same node.
func (s *saver) write() error {
	s.io.Lock()
	defer s.io.Unlock()
	if s.closed {
		return ErrClosed
	}
	return s.writeLocked()
}

func (s *saver) writeLocked() error {
	queue := s.take()
	if len(queue) == 0 {
		return nil
	}
	rest, err := s.writeAll(queue)
	for _, e := range rest {
		s.add(e, false)
	}
	return err
}

// writeAll returns the entries that were not written.
func (s *saver) writeAll(queue []entry) (rest []entry, err error) {
	batch := s.db.NewBatch()
	if c, ok := batch.(interface{ Close() }); ok {
		defer c.Close()
	}
	rest = queue
	for i, e := range queue {
		key := append(append(make([]byte, 0, len(s.prefix)+len(e.id)), s.prefix...), e.id[:]...)
		if e.value == nil {
			err = batch.Delete(key)
		} else {
			err = batch.Put(key, e.value)
		}
		if err != nil {
			return rest, err
		}
		if batch.ValueSize() >= ethdb.IdealBatchSize || i == len(queue)-1 {
			if err := batch.Write(); err != nil {
				return rest, err
			}
			batch.Reset()
			rest = queue[i+1:]
		}
	}
	return rest, nil
}

// close writes what waits; later writes fail with ErrClosed.
func (s *saver) close() error {
	s.io.Lock()
	defer s.io.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.writeLocked()
}
