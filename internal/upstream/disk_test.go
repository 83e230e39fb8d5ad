package upstream

import (
	"math/rand/v2"
	"net"
	"testing"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/ethdb/leveldb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

// This file holds what the benchmarks of Start and Stop work on.

const numStored = 100_000

// setupVersion is the version of the stored states.
const setupVersion = 1

var dbPrefix = []byte("nodes:")

// openDB opens an empty LevelDB, with the cache and the file handles that light
// clients give to the one in which they keep their servers.
func openDB(tb testing.TB) ethdb.KeyValueStore {
	db, err := leveldb.New(tb.TempDir(), 16, 16, "", false)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return db
}

// makeRecords returns nodes whose records have the entries and the size of those
// that servers publish. Keys and signatures are random bytes: neither side
// verifies what is stored, and real ones take long to make.
func makeRecords(tb testing.TB, count int) []*enode.Node {
	rnd := rand.New(rand.NewPCG(3, 4))
	bytes := func(count int) []byte {
		b := make([]byte, count)
		for i := range b {
			b[i] = byte(rnd.Uint64())
		}
		return b
	}
	nodes := make([]*enode.Node, count)
	for i := range nodes {
		var r enr.Record
		r.Set(enr.ID("v4"))
		r.Set(enr.IP(net.IP(bytes(4))))
		r.Set(enr.TCP(30303))
		r.Set(enr.UDP(30303))
		r.Set(enr.WithEntry("secp256k1", bytes(33)))
		r.SetSeq(1 + rnd.Uint64N(1<<40))
		id := anyKey(randomID(rnd))
		if err := r.SetSig(id, bytes(64)); err != nil {
			tb.Fatal(err)
		}
		n, err := enode.New(id, &r)
		if err != nil {
			tb.Fatal(err)
		}
		nodes[i] = n
	}
	return nodes
}

// anyKey is an identity scheme that takes any signature.
type anyKey enode.ID

func (anyKey) Verify(*enr.Record, []byte) error { return nil }
func (id anyKey) NodeAddr(*enr.Record) []byte   { return id[:] }

// storedDB returns a database in which one side or the other might have left
// the nodes, all with the first flag of the setup and a value of its first
// field.
func storedDB(tb testing.TB, count int) ethdb.KeyValueStore {
	db := openDB(tb)
	batch := db.NewBatch()
	for i, n := range makeRecords(tb, count) {
		value, err := rlp.EncodeToBytes(firstValue + uint64(i))
		if err != nil {
			tb.Fatal(err)
		}
		entry, err := rlp.EncodeToBytes([]any{n.Record(), uint(setupVersion), uint64(1 << 1), [][]byte{value}})
		if err != nil {
			tb.Fatal(err)
		}
		id := n.ID()
		if err := batch.Put(append(append([]byte(nil), dbPrefix...), id[:]...), entry); err != nil {
			tb.Fatal(err)
		}
	}
	if err := batch.Write(); err != nil {
		tb.Fatal(err)
	}
	if err := db.Compact(nil, nil); err != nil {
		tb.Fatal(err)
	}
	return db
}
