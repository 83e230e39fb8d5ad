package nodestate

import (
	"fmt"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
)

// Field is a typed value that nodes may have. Make it with [NewField] or
// [NewPersistentField]. It is a small handle, free to copy.
type Field[T any] struct {
	setup *Setup
	index int32
}

// Value is what a node has in a field: present or absent. An absent value's V
// is the zero value, which a present one may be as well.
type Value[T any] struct {
	V  T
	Ok bool // present
}

// Codec turns values of a persistent field into bytes and back. Neither
// function may call the machine, and Start calls Decode from several goroutines
// at once. A value that fails to encode, or encodes to no bytes, is stored as
// absent; bytes that fail to decode make the stored node a bad entry. Decode gets a
// part of a larger piece of memory, so it should copy what it keeps.
type Codec[T any] struct {
	Encode func(T) ([]byte, error)
	Decode func([]byte) (T, error)
}

// RLPCodec is the codec for types that package rlp can handle.
func RLPCodec[T any]() Codec[T] {
	return Codec[T]{
		Encode: func(v T) ([]byte, error) { return rlp.EncodeToBytes(v) },
		Decode: func(b []byte) (v T, err error) {
			err = rlp.DecodeBytes(b, &v)
			return v, err
		},
	}
}

// FieldCallback is called when the field of n was set or cleared. state is the
// whole state of the node at the time of that change.
type FieldCallback[T any] func(op Op, n *enode.Node, state Flags, oldValue, newValue Value[T])

// NewField defines a field that is not stored.
func NewField[T any](s *Setup, name string) Field[T] {
	return newField[T](s, name, nil)
}

// NewPersistentField defines a field that is stored with its node and comes
// back after a restart.
func NewPersistentField[T any](s *Setup, name string, codec Codec[T]) Field[T] {
	return newField(s, name, &codec)
}

func newField[T any](s *Setup, name string, codec *Codec[T]) Field[T] {
	return Field[T]{s, s.addField(name, func(index int32) column {
		return &columnOf[T]{index: index, codec: codec}
	})}
}

// Get returns the value that n has in the field, if any. It may be called
// anywhere and waits for no operation.
func (f Field[T]) Get(ns *NodeStateMachine, n *enode.Node) (value T, ok bool) {
	col := f.column(ns)
	if n == nil {
		return value, false
	}
	id := n.ID()
	hash := ns.table.hasher.hash(&id)
	sh := ns.table.shardOfHash(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	nd := sh.nodes.find(hash, &id, n)
	if nd == nil {
		return value, false
	}
	v := col.get(nd)
	return v.V, v.Ok
}

// Set gives n the value, as an operation of its own: it waits for its turn and
// returns when all consequences are over. Every Set is a change, also one that
// brings the value that is there already. A node that has no flag when the
// operation ends keeps nothing.
// Errors: [ErrNotStarted], [ErrClosed], [ErrNoNode].
func (f Field[T]) Set(ns *NodeStateMachine, n *enode.Node, value T) error {
	return f.update(ns, n, Value[T]{value, true}, "Field.Set")
}

// Clear takes the value from n; otherwise like Set. It is no change, and calls
// nobody, when n has no value.
func (f Field[T]) Clear(ns *NodeStateMachine, n *enode.Node) error {
	return f.update(ns, n, Value[T]{}, "Field.Clear")
}

func (f Field[T]) update(ns *NodeStateMachine, n *enode.Node, v Value[T], call string) error {
	col := f.column(ns)
	op, err := ns.begin(n, call)
	if err != nil {
		return err
	}
	col.change(ns, n, v)
	ns.end(op)
	return nil
}

// SetIn is Set as a part of a running operation; it does not wait.
func (f Field[T]) SetIn(op Op, n *enode.Node, value T) {
	ns := op.machine()
	f.column(ns).change(ns, n, Value[T]{value, true})
}

// ClearIn is Clear as a part of a running operation; it does not wait.
func (f Field[T]) ClearIn(op Op, n *enode.Node) {
	ns := op.machine()
	f.column(ns).change(ns, n, Value[T]{})
}

// Subscribe has cb called for every change of the field. It panics once the
// machine was started.
func (f Field[T]) Subscribe(ns *NodeStateMachine, cb FieldCallback[T]) {
	ns.mustBeNew("Field.Subscribe")
	col := f.column(ns)
	col.subs = append(col.subs, fieldSub[T]{cb, callbackName(cb)})
}

// column finds the field's values in a machine. The type assertion cannot
// fail: index and setup together identify the definition that made both.
func (f Field[T]) column(ns *NodeStateMachine) *columnOf[T] {
	if f.setup != ns.setup {
		panic(fmt.Sprintf("nodestate: field of setup %q used with a machine of setup %q", f.setup.name(), ns.setup.Name))
	}
	return ns.columns[f.index].(*columnOf[T])
}

func (s *Setup) name() string {
	if s == nil {
		return "(undefined field)"
	}
	return s.Name
}

// column holds the values of one field for all nodes of a machine, whatever
// their type.
type column interface {
	clear(ns *NodeStateMachine, nd *node)    // notifying subscribers
	drop(nd *node)                           // silently
	announce(ns *NodeStateMachine, nd *node) // absent→value, for Start
	grow(changes int) bool                   // makes room for so many; false: nobody is told of them
	callSubs(op Op, ch change)               // with the front change, which ends
	encode(nd *node) ([]byte, error)         // nil when absent or not persistent
	decode(b []byte) (any, error)            // nil when not persistent; may be called concurrently
	restore(nd *node, v any)                 // silently, what decode returned
}

// columnOf stores values in slices indexed by the node's slot, a slice a
// shard, so that setting one neither boxes nor allocates. The cells are
// guarded by the shard's lock; changes and subs belong to the operation.
type columnOf[T any] struct {
	index   int32
	codec   *Codec[T]
	subs    []fieldSub[T]
	cells   [numShards][]Value[T]
	changes fifo[fieldChange[T]] // in the order of their entries in the operation's queue
}

type fieldSub[T any] struct {
	cb   FieldCallback[T]
	name string
}

type fieldChange[T any] struct{ from, to Value[T] }

func (c *columnOf[T]) get(nd *node) (v Value[T]) {
	if cells := c.cells[nd.shard()]; int(nd.slot) < len(cells) {
		v = cells[nd.slot]
	}
	return v
}

func (c *columnOf[T]) put(nd *node, v Value[T]) {
	cells := &c.cells[nd.shard()]
	for int(nd.slot) >= len(*cells) {
		*cells = append(*cells, Value[T]{})
	}
	(*cells)[nd.slot] = v
}

// change sets or clears the field of n, which the operation may create.
func (c *columnOf[T]) change(ns *NodeStateMachine, n *enode.Node, v Value[T]) {
	if n == nil {
		return
	}
	nd := ns.table.find(n)
	if nd == nil {
		if !v.Ok {
			return
		}
		nd = ns.create(n)
	} else {
		ns.adopt(nd, n)
	}
	c.update(ns, nd, v)
}

func (c *columnOf[T]) update(ns *NodeStateMachine, nd *node, v Value[T]) {
	old := c.get(nd)
	if !old.Ok && !v.Ok {
		return
	}
	sh := ns.table.shardOf(nd)
	sh.mu.Lock()
	c.put(nd, v)
	sh.mu.Unlock()
	if c.codec != nil {
		ns.markDirty(nd)
	}
	c.push(ns, nd, fieldChange[T]{old, v})
}

func (c *columnOf[T]) push(ns *NodeStateMachine, nd *node, ch fieldChange[T]) {
	if len(c.subs) > 0 {
		c.changes.push(ch)
		state := nd.state.Load()
		ns.queue.push(change{nd: nd, from: state, to: state, field: c.index})
	}
}

func (c *columnOf[T]) clear(ns *NodeStateMachine, nd *node) { c.update(ns, nd, Value[T]{}) }

func (c *columnOf[T]) drop(nd *node) {
	if int(nd.slot) < len(c.cells[nd.shard()]) {
		c.put(nd, Value[T]{})
	}
}

func (c *columnOf[T]) announce(ns *NodeStateMachine, nd *node) {
	if v := c.get(nd); v.Ok {
		c.push(ns, nd, fieldChange[T]{to: v})
	}
}

func (c *columnOf[T]) grow(changes int) bool {
	if len(c.subs) == 0 {
		return false
	}
	c.changes.grow(changes)
	return true
}

func (c *columnOf[T]) callSubs(op Op, ch change) {
	ns, values := op.ns, *c.changes.front()
	for i := ns.nextSub; i < len(c.subs); i++ {
		sub := &c.subs[i]
		ns.nextSub = i + 1
		ns.check.calling(ns, ch)
		ns.check.entering(sub.name)
		sub.cb(op, ch.nd.record.Load(), Flags{ch.from, ns.setup}, values.from, values.to)
	}
	c.changes.pop()
}

func (c *columnOf[T]) encode(nd *node) ([]byte, error) {
	v := c.get(nd)
	if c.codec == nil || !v.Ok {
		return nil, nil
	}
	return c.codec.Encode(v.V)
}

func (c *columnOf[T]) decode(b []byte) (any, error) {
	if c.codec == nil {
		return nil, nil // was persistent once
	}
	v, err := c.codec.Decode(b)
	return Value[T]{v, true}, err
}

func (c *columnOf[T]) restore(nd *node, v any) { c.put(nd, v.(Value[T])) }
