package lespay

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
)

// Store is what a [ValueTracker] needs of a database. go-ethereum's LevelDB,
// Pebble and memory databases have it. It has to be safe for concurrent use.
type Store interface {
	ethdb.KeyValueReader
	ethdb.KeyValueWriter
	ethdb.Batcher
	ethdb.Iteratee
}

// Keys, after the configured prefix.
const (
	globalKey  = "vt:"
	nodePrefix = "vtNode:"
)

// recordVersion stands before every record, as an RLP number.
const recordVersion = 1

// errVersion means that a record was written by other software than this knows.
var errVersion = errors.New("unknown version")

// globalRecord is what is stored under globalKey.
type globalRecord struct {
	Mappings   [][]string
	RefMapping uint64 // index in Mappings
	RefBasket  basket // in the order of that mapping
	RtStats    ResponseTimeStats
	LogOffset  uint64 // a Fixed64 that is not negative
	SavedAt    uint64 // ns since 1970
}

// nodeRecord is what is stored under nodePrefix and the id of a server.
type nodeRecord struct {
	RtStats ResponseTimeStats
	Mapping uint64 // index in globalRecord.Mappings
	Basket  basket // in the order of that mapping
}

func decodeRecord(data []byte, rec any) error {
	version, rest, err := rlp.SplitUint64(data)
	switch {
	case err != nil:
		return fmt.Errorf("version: %w", err)
	case version != recordVersion:
		return fmt.Errorf("%w %d", errVersion, version)
	}
	return rlp.DecodeBytes(rest, rec)
}

// decodeGlobal decodes a global record and checks that its parts fit together.
func decodeGlobal(data []byte) (*globalRecord, error) {
	rec := new(globalRecord)
	if err := decodeRecord(data, rec); err != nil {
		return nil, err
	}
	if rec.LogOffset > math.MaxInt64 {
		return nil, fmt.Errorf("log offset %d is out of range", rec.LogOffset)
	}
	m := mappings{lists: rec.Mappings}
	if !m.fits(rec.RefBasket, rec.RefMapping) {
		return nil, fmt.Errorf("basket of %d items does not fit mapping %d", len(rec.RefBasket.Items), rec.RefMapping)
	}
	limit := Fixed64(rec.LogOffset).ToUint64()
	if err := limitExp(&rec.RtStats, &rec.RefBasket, limit); err != nil {
		return nil, err
	}
	return rec, nil
}

// decodeNode decodes the record of a server. limit is the present exponent.
func decodeNode(data []byte, limit uint64) (*nodeRecord, error) {
	rec := new(nodeRecord)
	if err := decodeRecord(data, rec); err != nil {
		return nil, err
	}
	if err := limitExp(&rec.RtStats, &rec.Basket, limit); err != nil {
		return nil, err
	}
	return rec, nil
}

// limitExp refuses what claims to have been written in the future: it would be
// worth far more than it should. One exponent ahead happens after a crash of
// older software, which wrote servers and global state at different times; it
// is taken back.
func limitExp(stats *ResponseTimeStats, b *basket, limit uint64) error {
	if exp := max(stats.exp, b.Exp); exp > 0 && exp-1 > limit {
		return fmt.Errorf("exponent %d is ahead of the present one, %d", exp, limit)
	}
	stats.exp, b.Exp = min(stats.exp, limit), min(b.Exp, limit)
	return nil
}

// encodeGlobal encodes rec; its basket is in the order of the request list.
func encodeGlobal(rec *globalRecord, order []int) []byte {
	buf := rlp.NewEncoderBuffer(nil)
	buf.WriteUint64(recordVersion)
	list := buf.List()
	lists := buf.List()
	for _, names := range rec.Mappings {
		inner := buf.List()
		for _, name := range names {
			buf.WriteString(name)
		}
		buf.ListEnd(inner)
	}
	buf.ListEnd(lists)
	buf.WriteUint64(rec.RefMapping)
	encodeBasket(buf, rec.RefBasket, order)
	rec.RtStats.encode(buf)
	buf.WriteUint64(rec.LogOffset)
	buf.WriteUint64(rec.SavedAt)
	buf.ListEnd(list)
	return finish(buf)
}

// encodeNode encodes rec; its basket is in the order of the request list.
func encodeNode(rec *nodeRecord, order []int) []byte {
	buf := rlp.NewEncoderBuffer(nil)
	buf.WriteUint64(recordVersion)
	list := buf.List()
	rec.RtStats.encode(buf)
	buf.WriteUint64(rec.Mapping)
	encodeBasket(buf, rec.Basket, order)
	buf.ListEnd(list)
	return finish(buf)
}

func encodeBasket(buf rlp.EncoderBuffer, b basket, order []int) {
	outer := buf.List()
	items := buf.List()
	for _, i := range order {
		item := buf.List()
		buf.WriteUint64(b.Items[i].Amount)
		buf.WriteUint64(b.Items[i].Value)
		buf.ListEnd(item)
	}
	buf.ListEnd(items)
	buf.WriteUint64(b.Exp)
	buf.ListEnd(outer)
}

func finish(buf rlp.EncoderBuffer) []byte {
	data := buf.ToBytes()
	_ = buf.Flush() // gives the buffer back; without a writer it cannot fail
	return data
}

// records is the store as the tracker sees it: single reads, a scan over all
// servers, and writes all or nothing.
type records interface {
	// get returns nil if there is no such record; an error means that this
	// cannot be told.
	get(key []byte) ([]byte, error)
	// scan calls f for all records with the prefix, in the order of their keys.
	scan(prefix []byte, f func(key, value []byte)) error
	commit(puts []record, deletes [][]byte) error
}

type record struct{ key, value []byte }

// storeRecords are records in a database.
type storeRecords struct{ db Store }

func (s storeRecords) get(key []byte) ([]byte, error) {
	data, err := s.db.Get(key)
	if err == nil {
		return data, nil
	}
	// Databases have no error in common that says "not found".
	if has, hasErr := s.db.Has(key); hasErr == nil && !has {
		return nil, nil
	}
	return nil, err
}

func (s storeRecords) scan(prefix []byte, f func(key, value []byte)) error {
	it := s.db.NewIterator(prefix, nil)
	defer it.Release()
	for it.Next() {
		f(it.Key(), it.Value())
	}
	return it.Error()
}

func (s storeRecords) commit(puts []record, deletes [][]byte) error {
	batch := s.db.NewBatch()
	for _, p := range puts {
		if err := batch.Put(p.key, p.value); err != nil {
			return err
		}
	}
	for _, key := range deletes {
		if err := batch.Delete(key); err != nil {
			return err
		}
	}
	return batch.Write()
}

// memoryRecords are records that end with the process.
type memoryRecords struct {
	mu struct {
		sync.Mutex
		data map[string][]byte
	}
}

func newMemoryRecords() *memoryRecords {
	m := new(memoryRecords)
	m.mu.data = make(map[string][]byte)
	return m
}

func (m *memoryRecords) get(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.data[string(key)], nil
}

func (m *memoryRecords) scan(prefix []byte, f func(key, value []byte)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []record
	for key, value := range m.mu.data {
		if bytes.HasPrefix([]byte(key), prefix) {
			found = append(found, record{[]byte(key), value})
		}
	}
	slices.SortFunc(found, func(a, b record) int { return bytes.Compare(a.key, b.key) })
	for _, r := range found {
		f(r.key, r.value)
	}
	return nil
}

func (m *memoryRecords) commit(puts []record, deletes [][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range puts {
		m.mu.data[string(p.key)] = p.value
	}
	for _, key := range deletes {
		delete(m.mu.data, string(key))
	}
	return nil
}

// nodeKey returns the key of a server's record.
func (vt *ValueTracker) nodeKey(id enode.ID) []byte {
	key := make([]byte, 0, len(vt.cfg.Prefix)+len(nodePrefix)+len(id))
	key = append(append(key, vt.cfg.Prefix...), nodePrefix...)
	return append(key, id[:]...)
}
