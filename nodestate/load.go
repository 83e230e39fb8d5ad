package nodestate

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// loadChunk is how many entries a core decodes at a time. More costs memory
// while loading, fewer costs more handing over.
const loadChunk = 256

// loadedNode is an entry of the store and what it says.
type loadedNode struct {
	key, value []byte // the key without the prefix

	node     *enode.Node // nil if the entry is bad or outdated
	state    uint64
	fields   []any // by index; nil: absent
	outdated bool
	err      error
}

// load reads all stored nodes and queues what subscribers are told of them. Bad
// entries are skipped and left where they are; entries of another version are
// deleted.
//
// All cores decode, while this goroutine reads, and adds nodes in the order in
// which the store has them, that of their ids.
func (ns *NodeStateMachine) load() error {
	if ns.saver == nil {
		return nil
	}
	var (
		report  loadReport
		pending []chan []loadedNode // being decoded, oldest first
		chunk   []loadedNode
		memory  arena // of keys and values
		cores   = runtime.GOMAXPROCS(0)
	)
	dispatch := func() {
		done := make(chan []loadedNode, 1)
		pending = append(pending, done)
		go func(chunk []loadedNode) {
			for i := range chunk {
				ns.decodeEntry(&chunk[i])
			}
			done <- chunk
		}(chunk)
		chunk = make([]loadedNode, 0, loadChunk)
	}
	add := func() {
		for _, entry := range <-pending[0] {
			ns.addLoaded(&entry, &report)
		}
		pending = pending[1:]
	}
	it := ns.saver.db.NewIterator(ns.saver.prefix, nil)
	defer it.Release()
	for it.Next() {
		key := it.Key()[len(ns.saver.prefix):]
		chunk = append(chunk, loadedNode{key: memory.copy(key), value: memory.copy(it.Value())})
		if len(chunk) == loadChunk {
			dispatch()
		}
		if len(pending) > 2*cores {
			add()
		}
	}
	dispatch()
	for len(pending) > 0 {
		add()
	}
	ns.announce(report.nodes)
	ns.badEntries.Store(int64(report.bad))
	return ns.logLoaded(report, it.Error())
}

func (ns *NodeStateMachine) logLoaded(r loadReport, err error) error {
	ns.log.Debug("Loaded node states", "nodes", len(r.nodes), "outdated", r.outdated)
	if r.bad > 0 {
		ns.log.Warn("Skipped stored nodes that could not be read", "count", r.bad, "first", errors.Join(r.errs...))
	}
	if err != nil {
		ns.log.Error("Stored nodes could not be read to the end", "loaded", len(r.nodes), "err", err)
		return fmt.Errorf("nodestate: reading the store: %w", err)
	}
	return nil
}

// maxRecordedErrors bounds how many bad entries are named in the log.
const maxRecordedErrors = 3

// loadReport counts what Start found in the store.
type loadReport struct {
	nodes         []*node
	outdated, bad int
	errs          []error // of the first bad entries
}

// addLoaded adds a decoded entry to the table, or says what is wrong with it.
func (ns *NodeStateMachine) addLoaded(e *loadedNode, r *loadReport) {
	switch {
	case e.err != nil:
		r.bad++
		if len(r.errs) < maxRecordedErrors {
			r.errs = append(r.errs, fmt.Errorf("key %x: %w", e.key, e.err))
		}
	case e.outdated:
		r.outdated++
		ns.saver.delete(enode.ID(e.key))
	default:
		r.nodes = append(r.nodes, ns.table.insert(e.node, func(nd *node) {
			nd.stored = true
			nd.state.Store(e.state)
			for i, v := range e.fields {
				if v != nil {
					ns.columns[i].restore(nd, v)
				}
			}
		}))
	}
}

// announce queues what subscribers are told of loaded nodes.
func (ns *NodeStateMachine) announce(nodes []*node) {
	ns.growQueue(len(nodes))
	for _, nd := range nodes {
		ns.pushState(nd, offlineMask, nd.state.Load())
		for _, col := range ns.columns {
			col.announce(ns, nd)
		}
		ns.noteFlagless(nd)
	}
}

// growQueue makes room for a change of the state, and of all fields that have
// subscribers, of so many nodes.
func (ns *NodeStateMachine) growQueue(nodes int) {
	changes := nodes
	for _, col := range ns.columns {
		if col.grow(nodes) {
			changes += nodes
		}
	}
	ns.queue.grow(changes)
}

// decodeEntry fills in what an entry says. It touches nothing of the machine
// that changes, so that several goroutines may run it.
func (ns *NodeStateMachine) decodeEntry(e *loadedNode) {
	defer func() {
		if v := recover(); v != nil {
			e.err = fmt.Errorf("panic while decoding: %v", v)
		}
	}()
	if len(e.key) != len(enode.ID{}) {
		e.err = errors.New("not a node id")
		return
	}
	s, err := decodeStored(e.value)
	if err != nil {
		e.err = err
		return
	}
	if s.Version != uint64(ns.setup.Version) {
		e.outdated = true
		return
	}
	if e.fields, e.err = ns.decodeFields(s.Fields); e.err != nil {
		return
	}
	e.state = s.State & ns.persistent
	e.node, e.err = enode.New(storedID(e.key), s.Record)
}

func (ns *NodeStateMachine) decodeFields(encoded [][]byte) ([]any, error) {
	if len(encoded) > len(ns.columns) {
		return nil, fmt.Errorf("%d fields, %d are known", len(encoded), len(ns.columns))
	}
	fields := make([]any, len(encoded))
	for i, enc := range encoded {
		if len(enc) == 0 {
			continue
		}
		v, err := ns.columns[i].decode(enc)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", ns.setup.fields[i].name, err)
		}
		fields[i] = v
	}
	return fields, nil
}

// arena is memory for many small pieces, which is freed when none of them is used.
type arena []byte

// arenaSize is the least that an arena allocates at a time.
const arenaSize = 1 << 16

func (a *arena) copy(b []byte) []byte {
	if len(b) > cap(*a)-len(*a) {
		*a = make([]byte, 0, max(arenaSize, len(b)))
	}
	start := len(*a)
	*a = append(*a, b...)
	return (*a)[start:len(*a):len(*a)]
}
