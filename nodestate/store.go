package nodestate

import (
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

// Store is what the machine needs of a database. Every key-value store of
// go-ethereum fits.
type Store interface {
	ethdb.KeyValueReader
	ethdb.KeyValueWriter
	ethdb.Batcher
	ethdb.Iteratee
}

// storedNode is the value of an entry, an RLP list; its key is the prefix and
// the node id. The format is that of go-ethereum v1.13.5's p2p/nodestate.
type storedNode struct {
	Record  enr.Record
	Version uint
	State   uint64   // bit i is the i-th flag of the setup
	Fields  [][]byte // by field index; empty: absent or not persistent; trailing empty ones are cut
}

// storedID is the identity scheme of loaded records: signatures are not
// checked again, and the id is that of the key, since records of nodes known
// by URL, and local addresses, are not signed.
type storedID enode.ID

func (storedID) Verify(*enr.Record, []byte) error { return nil }
func (id storedID) NodeAddr(r *enr.Record) []byte { return id[:] }

// maxRecordedErrors bounds how many bad entries are named in the log.
const maxRecordedErrors = 3

// loadReport counts what Start found in the store.
type loadReport struct {
	loaded, outdated, bad int
	errs                  []error // of the first bad entries
}

func (r *loadReport) addBad(key []byte, err error) {
	r.bad++
	if len(r.errs) < maxRecordedErrors {
		r.errs = append(r.errs, fmt.Errorf("key %x: %w", key, err))
	}
}

// load reads all stored nodes. Bad entries are skipped and left where they
// are; entries of another version are deleted.
func (ns *NodeStateMachine) load() error {
	if ns.saver == nil {
		return nil
	}
	var report loadReport
	it := ns.saver.db.NewIterator(ns.saver.prefix, nil)
	defer it.Release()
	for it.Next() {
		key := it.Key()[len(ns.saver.prefix):]
		if len(key) != len(enode.ID{}) {
			report.addBad(key, errors.New("not a node id"))
			continue
		}
		id := enode.ID(key)
		outdated, err := ns.loadNode(id, it.Value())
		switch {
		case err != nil:
			report.addBad(key, err)
		case outdated:
			report.outdated++
			ns.saver.delete(id)
		default:
			report.loaded++
		}
	}
	ns.badEntries.Store(int64(report.bad))
	ns.log.Debug("Loaded node states", "nodes", report.loaded, "outdated", report.outdated)
	if report.bad > 0 {
		ns.log.Warn("Skipped stored nodes that could not be read", "count", report.bad, "first", errors.Join(report.errs...))
	}
	if err := it.Error(); err != nil {
		ns.log.Error("Stored nodes could not be read to the end", "loaded", report.loaded, "err", err)
		return fmt.Errorf("nodestate: reading the store: %w", err)
	}
	return nil
}

// loadNode adds one stored node to the table, or nothing if it is outdated or
// bad.
func (ns *NodeStateMachine) loadNode(id enode.ID, value []byte) (outdated bool, err error) {
	var s storedNode
	if err := rlp.DecodeBytes(value, &s); err != nil {
		return false, err
	}
	if s.Version != ns.setup.Version {
		return true, nil
	}
	if len(s.Fields) > len(ns.columns) {
		return false, fmt.Errorf("%d fields, %d are known", len(s.Fields), len(ns.columns))
	}
	n, err := enode.New(storedID(id), &s.Record)
	if err != nil {
		return false, err
	}
	nd := ns.table.insert(n)
	if err := ns.decodeFields(nd, s.Fields); err != nil {
		ns.forget(nd)
		return false, err
	}
	nd.state.Store(s.State & ns.persistent)
	return false, nil
}

func (ns *NodeStateMachine) decodeFields(nd *node, fields [][]byte) error {
	sh := &ns.table.shards[nd.shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i, enc := range fields {
		if len(enc) == 0 {
			continue
		}
		if err := ns.columns[i].decode(nd, enc); err != nil {
			return fmt.Errorf("field %q: %w", ns.setup.fields[i].name, err)
		}
	}
	nd.stored = true
	return nil
}

// encodeLocked returns the entry of a node, nil if it is not to be stored. The
// caller holds the shard's lock.
func (ns *NodeStateMachine) encodeLocked(nd *node) []byte {
	s := storedNode{
		Record:  *nd.record.Load().Record(),
		Version: ns.setup.Version,
		State:   nd.state.Load() & ns.persistent &^ nd.timedFlags(),
	}
	if s.State == 0 {
		return nil
	}
	for i, col := range ns.columns {
		enc, err := col.encode(nd)
		if err != nil {
			ns.log.Error("Field could not be encoded", "field", ns.setup.fields[i].name, "err", err)
		} else if len(enc) > 0 {
			for len(s.Fields) <= i {
				s.Fields = append(s.Fields, nil)
			}
			s.Fields[i] = enc
		}
	}
	enc, err := rlp.EncodeToBytes(&s)
	if err != nil {
		ns.log.Error("Node could not be encoded", "id", nd.record.Load().ID(), "err", err)
		return nil
	}
	return enc
}

// Persist stores what is known of n at once, adopting its record if that is
// newer. It waits for the write but for no operation, and may be called inside
// callbacks. An unknown node is ignored. Errors: [ErrNotStarted], [ErrClosed],
// [ErrNoNode], or what the store returns; then the write is tried again at the
// next flush.
func (ns *NodeStateMachine) Persist(n *enode.Node) error {
	switch {
	case n == nil:
		return ErrNoNode
	case ns.phase.Load() == phaseNew:
		return ErrNotStarted
	case ns.closing.Load():
		return ErrClosed
	}
	id := n.ID()
	sh := ns.table.shard(id)
	sh.mu.RLock()
	nd := sh.nodes[id]
	sh.mu.RUnlock()
	if nd == nil {
		return nil
	}
	ns.table.adopt(nd, n)
	if ns.saver == nil {
		return nil
	}
	ns.submit(nd)
	return ns.saver.write()
}

// submit hands the present state of a node to the saver. It may be called
// outside operations: the shard's lock orders what it hands over with what
// forget does.
func (ns *NodeStateMachine) submit(nd *node) {
	id := nd.record.Load().ID()
	sh := &ns.table.shards[nd.shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.nodes[id] != nd {
		return
	}
	if enc := ns.encodeLocked(nd); enc != nil {
		nd.stored = true
		ns.saver.put(id, enc)
	} else if nd.stored {
		nd.stored = false
		ns.saver.delete(id)
	}
}

// markDirty has the next flush look at a node.
func (ns *NodeStateMachine) markDirty(nd *node) {
	if ns.saver != nil && !nd.dirty {
		nd.dirty = true
		ns.dirty = append(ns.dirty, nd)
	}
}

// setFlushTimer makes sure that what is not written yet will be.
func (ns *NodeStateMachine) setFlushTimer() {
	if ns.saver == nil || ns.flushAfter < 0 || ns.flushTimer != nil {
		return
	}
	if len(ns.dirty) > 0 || ns.saver.count.Load() > 0 {
		ns.flushTimer = ns.after(ns.flushAfter, ns.flush)
	}
}

// flush writes what became dirty. Encoding takes turns with the operations,
// writing does not.
func (ns *NodeStateMachine) flush() {
	defer ns.timers.Done()
	for ns.flushSome() {
	}
	if err := ns.saver.write(); err != nil && !errors.Is(err, ErrClosed) {
		ns.log.Error("Node states could not be saved, will try again", "waiting", ns.saver.count.Load(), "err", err)
	}
	ns.turn.Lock()
	defer ns.turn.Unlock()
	ns.cancelTimer(&ns.flushTimer)
	if ns.phase.Load() == phaseRunning {
		ns.setFlushTimer()
	}
}

// flushChunk is how many nodes are encoded in one turn. More makes operations
// wait longer, fewer makes the flush wait more often.
const flushChunk = 256

// flushSome takes a turn and tells whether another one is needed.
func (ns *NodeStateMachine) flushSome() bool {
	ns.turn.Lock()
	defer ns.turn.Unlock()
	if ns.phase.Load() != phaseRunning {
		return false
	}
	ns.collect(flushChunk)
	return len(ns.dirty) > 0
}

// collect submits up to limit dirty nodes.
func (ns *NodeStateMachine) collect(limit int) {
	k := min(limit, len(ns.dirty))
	for _, nd := range ns.dirty[:k] {
		nd.dirty = false
		ns.submit(nd)
	}
	if k == len(ns.dirty) {
		clear(ns.dirty)
		ns.dirty = ns.dirty[:0]
	} else {
		ns.dirty = ns.dirty[k:]
	}
}
