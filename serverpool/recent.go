package serverpool

import (
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// recent keeps values of nodes, the latest ones up to a limit. It is not safe for
// concurrent use.
type recent[T any] struct{ lru *simplelru.LRU[enode.ID, *T] }

// newRecent makes an empty set. The limit has to be positive. gone, if it is not nil,
// is called for each value that is dropped.
func newRecent[T any](limit int, gone func(id enode.ID, value T)) *recent[T] {
	var evicted func(enode.ID, *T)
	if gone != nil {
		evicted = func(id enode.ID, value *T) { gone(id, *value) }
	}
	lru, _ := simplelru.NewLRU(limit, evicted) // a limit that is not positive is the only error there is
	return &recent[T]{lru}
}

func (r *recent[T]) len() int { return r.lru.Len() }

// get returns the value of a node, nil if there is none, and does not make it the
// latest.
func (r *recent[T]) get(id enode.ID) *T {
	value, _ := r.lru.Peek(id)
	return value
}

// latest makes the value of a node the latest, or an empty one if there is none.
// It may push out the oldest.
func (r *recent[T]) latest(id enode.ID) *T {
	value, _ := r.enter(id)
	return value
}

// enter is latest; isNew tells that there was none.
func (r *recent[T]) enter(id enode.ID) (value *T, isNew bool) {
	value, ok := r.lru.Get(id)
	if !ok {
		value = new(T)
		r.lru.Add(id, value)
	}
	return value, !ok
}

// remove drops the value of a node, if there is one.
func (r *recent[T]) remove(id enode.ID) { r.lru.Remove(id) }

// first returns the oldest node; there has to be one.
func (r *recent[T]) first() enode.ID {
	id, _, _ := r.lru.GetOldest()
	return id
}

// ids returns the nodes, the latest last.
func (r *recent[T]) ids() []enode.ID { return r.lru.Keys() }
