package nodestate

import (
	"errors"

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
	Record  *enr.Record
	Version uint64
	State   uint64   // bit i is the i-th flag of the setup
	Fields  [][]byte // by field index; empty: absent or not persistent; trailing empty ones are cut
}

// decodeStored reads an entry. Package rlp would do the same with a storedNode, but
// copy its parts, which costs a tenth of Start.
func decodeStored(entry []byte) (s storedNode, err error) {
	list := part(&entry, &err, rlp.SplitList)
	record := part(&list, &err, splitAny)
	s.Version = part(&list, &err, rlp.SplitUint64)
	s.State = part(&list, &err, rlp.SplitUint64)
	fields := part(&list, &err, rlp.SplitList)
	if err == nil && len(entry)+len(list) > 0 {
		err = errTooLong
	}
	for err == nil && len(fields) > 0 {
		s.Fields = append(s.Fields, part(&fields, &err, rlp.SplitString))
	}
	if err == nil {
		s.Record = new(enr.Record)
		err = rlp.DecodeBytes(record, s.Record)
	}
	return s, err
}

var errTooLong = errors.New("something follows what should be there")

// part takes the first value from rest, unless there was an error before.
func part[T any](rest *[]byte, err *error, split func([]byte) (T, []byte, error)) (value T) {
	if *err == nil {
		value, *rest, *err = split(*rest)
	}
	return value
}

// splitAny is like package rlp's functions, for an encoded value of any kind.
func splitAny(b []byte) (value, rest []byte, err error) {
	_, _, rest, err = rlp.Split(b)
	return b[:len(b)-len(rest)], rest, err
}

// storedID is the identity scheme of loaded records: signatures are not
// checked again, and the id is that of the key, since records of nodes known
// by URL, and local addresses, are not signed.
type storedID enode.ID

func (storedID) Verify(*enr.Record, []byte) error { return nil }
func (id storedID) NodeAddr(r *enr.Record) []byte { return id[:] }

// encodeLocked returns the entry of a node with the given state, nil if it is
// not to be stored. The caller holds the shard's lock.
func (ns *NodeStateMachine) encodeLocked(nd *node, state uint64) []byte {
	stored := state & ns.persistent &^ nd.timedFlags()
	if stored == 0 {
		return nil
	}
	s := storedNode{
		Record:  nd.record.Load().Record(),
		Version: uint64(ns.setup.Version),
		State:   stored,
		Fields:  make([][]byte, 0, len(ns.columns)),
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
	nd := ns.table.lookUp(n)
	if nd == nil {
		return nil
	}
	ns.table.adopt(nd, n)
	if ns.saver == nil {
		return nil
	}
	if !ns.submit(nd) && ns.closing.Load() {
		return ErrClosed
	}
	err := ns.saver.write()
	if err != nil {
		ns.setFlushTimer()
	}
	return err
}

// submit hands the present state of a node to the saver. It may be called
// outside operations: the shard's lock orders what it hands over with what
// forget does. It returns false, and does nothing, when the node is forgotten,
// or when Stop has submitted all nodes and is taking them apart.
func (ns *NodeStateMachine) submit(nd *node) bool {
	n := nd.record.Load()
	id := n.ID()
	sh := ns.table.shardOf(nd)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	state := nd.state.Load()
	if sh.nodes.find(nd.hash, &id, n) != nd || state&offlineMask != 0 {
		return false
	}
	if enc := ns.encodeLocked(nd, state); enc != nil {
		nd.stored = true
		ns.saver.put(id, enc)
	} else if nd.stored {
		nd.stored = false
		ns.saver.delete(id)
	}
	return true
}
