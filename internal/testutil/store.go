package testutil

import (
	"errors"
	"sync"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
)

// ErrInjected is what a [FaultyStore] fails with.
var ErrInjected = errors.New("testutil: injected store failure")

// FaultyStore is an in-memory store that counts what is done to it and fails
// on request. The zero value is not usable; see [NewFaultyStore].
type FaultyStore struct {
	*memorydb.Database
	mu struct {
		sync.Mutex
		fail   func(op string) bool
		counts map[string]int
		block  chan struct{} // writes wait for its close
	}
}

// NewFaultyStore returns an empty store that works.
func NewFaultyStore() *FaultyStore {
	s := &FaultyStore{Database: memorydb.New()}
	s.mu.counts = make(map[string]int)
	return s
}

// FailIf makes every operation fail for which f returns true. The operations
// are "get", "has", "put", "delete", "batch" and "iterate". A nil f mends the
// store.
func (s *FaultyStore) FailIf(f func(op string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.fail = f
}

// Block makes writes wait until the returned function is called.
func (s *FaultyStore) Block() (release func()) {
	ch := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.block = ch
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mu.block == ch {
			s.mu.block = nil
			close(ch)
		}
	}
}

// Count returns how often an operation was tried.
func (s *FaultyStore) Count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.counts[op]
}

func (s *FaultyStore) try(op string, write bool) error {
	s.mu.Lock()
	s.mu.counts[op]++
	fail := s.mu.fail != nil && s.mu.fail(op)
	block := s.mu.block
	s.mu.Unlock()
	if write && block != nil {
		<-block
	}
	if fail {
		return ErrInjected
	}
	return nil
}

// Get implements ethdb.KeyValueReader.
func (s *FaultyStore) Get(key []byte) ([]byte, error) {
	if err := s.try("get", false); err != nil {
		return nil, err
	}
	return s.Database.Get(key)
}

// Has implements ethdb.KeyValueReader.
func (s *FaultyStore) Has(key []byte) (bool, error) {
	if err := s.try("has", false); err != nil {
		return false, err
	}
	return s.Database.Has(key)
}

// Put implements ethdb.KeyValueWriter.
func (s *FaultyStore) Put(key, value []byte) error {
	if err := s.try("put", true); err != nil {
		return err
	}
	return s.Database.Put(key, value)
}

// Delete implements ethdb.KeyValueWriter.
func (s *FaultyStore) Delete(key []byte) error {
	if err := s.try("delete", true); err != nil {
		return err
	}
	return s.Database.Delete(key)
}

// NewBatch implements ethdb.Batcher.
func (s *FaultyStore) NewBatch() ethdb.Batch {
	return &faultyBatch{Batch: s.Database.NewBatch(), store: s}
}

// NewBatchWithSize implements ethdb.Batcher.
func (s *FaultyStore) NewBatchWithSize(int) ethdb.Batch { return s.NewBatch() }

// NewIterator implements ethdb.Iteratee.
func (s *FaultyStore) NewIterator(prefix, start []byte) ethdb.Iterator {
	return &faultyIterator{Iterator: s.Database.NewIterator(prefix, start), err: s.try("iterate", false)}
}

type faultyBatch struct {
	ethdb.Batch
	store *FaultyStore
}

func (b *faultyBatch) Write() error {
	if err := b.store.try("batch", true); err != nil {
		return err
	}
	return b.Batch.Write()
}

type faultyIterator struct {
	ethdb.Iterator
	err error
}

func (it *faultyIterator) Next() bool   { return it.err == nil && it.Iterator.Next() }
func (it *faultyIterator) Error() error { return it.err }
