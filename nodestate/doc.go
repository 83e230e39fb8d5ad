// Package nodestate keeps flags and fields of network nodes and tells the parts
// of an application what changes. The parts do not call each other: each sets
// flags and fields, and subscribes to those that it cares about.
//
// # The law
//
// An operation is a change from outside and everything that follows from it. It
// starts with a top-level call (SetState, AddTimeout, Operation, Field.Set,
// Field.Clear), with a timeout, or with Start or Stop.
//
//   - Breadth-first. Each change appends calls of its subscribers, in the order
//     of their subscription, to the end of the operation's queue. So all
//     callbacks caused by one change run before any callback caused by a change
//     that one of those makes.
//   - In order. A subscriber sees the states of a node one after the other: the
//     new state of one call is the old state of its next call for that node.
//   - To the end. A top-level call returns when the queue that it started is
//     empty.
//   - One at a time. Operations take turns; callbacks never run concurrently,
//     and run on the goroutine that started the operation. None waits for ever,
//     but turns are not strictly first come, first served.
//   - Flags keep a node, fields do not. A node that has no flag when the queue
//     is empty is forgotten, after its fields' subscribers have been told once
//     that the values are gone. If one of them sets a flag, it stays.
//   - A timeout resets its flags in an operation of its own. Setting or
//     resetting a flag cancels its timeout.
//   - The newest record of a node (by sequence number) that any changing call
//     brought is the one kept, handed out and stored.
//
// That the consequences of a change come to an end is the duty of whoever
// designs the flags.
//
// # An example
//
// One subscriber to flag a sets b, then c; one to b sets d; a third watches b, c
// and d. After a was set the third one sees
//
//	[] → [b],  [b] → [b, c],  [b, c] → [b, c, d]
//
// though d was set by a callback that ran before the third subscriber was called
// for the first time. The package example runs it.
//
// # Callbacks
//
// A callback gets an [Op] and makes further changes through it, or through
// Field.SetIn and Field.ClearIn; these take effect at once (getters see them)
// and return at once, leaving their consequences to the queue. A callback must
// not start an operation, nor call Stop: it would wait for itself. Built with
// the tag "invariants" the machine panics instead, naming the callback; it also
// panics, with the last changes, when one operation runs more than 10,000
// callbacks for a node. Getters and Persist may be called anywhere.
//
// A panic in a callback reaches whoever started the operation, after the rest
// of the queue has run; the machine stays usable. If several callbacks of an
// operation panic the first one's goes up and the others are logged. After a
// timeout, where nobody is there to recover, it is logged too. runtime.Goexit
// counts as a panic.
//
// # Concurrency
//
// All methods are safe for concurrent use, except that definitions and
// subscriptions precede Start. GetState, GetNode, Field.Get, ForEach and Stats
// wait for no callback. Stop may come at any time: calls that wait for their
// turn then return ErrClosed, and getters return empty values afterwards.
//
// Inside, the order of locks is: the turn of the operation, a part of the table,
// the entries that wait for the store. The lock that is held while the store
// writes comes before those entries; operations wait for it in Persist only.
//
// # Storage
//
// Nodes with a persistent flag that has no running timeout are stored with
// those flags and their persistent fields, at most one flush interval after
// they changed, at Stop, and by Persist at once. A node is one entry: prefix and
// node id are the key, the RLP list [record, version, flags, fields] is the
// value (see storedNode). Entries are written in batches; no operation waits
// for one. A store that fails is tried again at the next flush. Entries that
// cannot be read at Start are skipped and left alone, those of another
// [Setup.Version] are deleted. Start decodes on all cores.
//
// # Cost
//
// A change of a known node costs one lock for the operation, one look-up of the
// id, an atomic store of the state and the calls of the subscribers; it
// allocates nothing. A caller whose turn it is not yields a few times before it
// goes to sleep, since most operations are over sooner than that. Fields are
// kept in typed slices, so that setting one does not allocate either. Nodes are
// found by a hash table of pointers, which costs a word or two for a node.
// GetState and GetNode take no lock, Field.Get and ForEach short locks of the
// table's 16 parts. All timeouts share one timer of the clock and a heap.
package nodestate
