package serverpool

import (
	"fmt"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/lespool/lespool/lespay"
)

// memory keeps the histories of nodes without value, so that their redial
// waits grow although the state machine forgets them, also over restarts.
type memory struct{ *ledger[remembered] }

// remembered is the history of a node at an endpoint. At another endpoint it
// is taken for another server: a new record alone costs nothing to make.
type remembered struct {
	history
	endpoint string
	seq      uint64 // of the newest record that named the endpoint
}

// leftBy tells whether n has moved to another endpoint. Older records keep
// turning up in lists and say nothing; those without a number may be any age.
func (r *remembered) leftBy(n *enode.Node) bool {
	newer := n.Seq() > r.seq || n.Seq() == 0 && r.seq == 0
	return newer && r.endpoint != endpointOf(n)
}

func newMemory(poolPrefix []byte, size int) *memory {
	return &memory{newLedger(ledgerKind[remembered]{
		name:   "h",
		encode: func(r remembered) any { return r.stored() },
		decode: decodeRemembered,
		age:    func(r remembered) int64 { return r.waitStart },
	}, poolPrefix, size)}
}

// endpointOf tells servers apart that claim the same id.
func endpointOf(n *enode.Node) string {
	return fmt.Sprintf("%v/%d/%d", n.IP(), n.TCP(), n.UDP())
}

// historyOf returns the history of a node that has not moved.
func (m *memory) historyOf(n *enode.Node) (history, bool) {
	r, ok := m.get(n.ID())
	if !ok || r.leftBy(n) {
		return history{}, false
	}
	return r.history, true
}

// moved tells whether a remembered node is at another endpoint now.
func (m *memory) moved(n *enode.Node) bool {
	r, ok := m.get(n.ID())
	return ok && r.leftBy(n)
}

func (m *memory) remember(n *enode.Node, h history) {
	r := remembered{h, endpointOf(n), n.Seq()}
	if old, ok := m.get(n.ID()); ok && old.seq > r.seq {
		r.endpoint, r.seq = old.endpoint, old.seq
	}
	m.put(n.ID(), r)
}

// release ends the wait that began in an earlier run.
func (m *memory) release(id enode.ID) {
	if r, ok := m.get(id); ok && r.until != 0 {
		r.until = 0
		m.put(id, r)
	}
}

// memoryVersion is the version of stored histories.
const memoryVersion = 1

// storedMemory is a stored history, of kind "h".
type storedMemory struct {
	Version            uint64
	DialCost           lespay.ExpiredValue
	WaitStart, WaitEnd uint64
	Endpoint           string
	Seq                uint64
}

func (r *remembered) stored() *storedMemory {
	return &storedMemory{
		memoryVersion, r.dialCost, uint64(max(r.waitStart, 0)), uint64(max(r.waitEnd, 0)), r.endpoint, r.seq,
	}
}

// decodeRemembered has a wait that has not ended run on whatever the wall clock
// does later.
func decodeRemembered(value []byte, now moment) (r remembered, err error) {
	var enc storedMemory
	if err := rlp.DecodeBytes(value, &enc); err != nil {
		return r, err
	}
	if enc.Version != memoryVersion {
		return r, fmt.Errorf("version %d", enc.Version)
	}
	if enc.WaitStart > enc.WaitEnd || enc.WaitEnd-enc.WaitStart > maxKnownWait || enc.WaitEnd > 1<<40 {
		return r, fmt.Errorf("wait from %d to %d", enc.WaitStart, enc.WaitEnd)
	}
	r.dialCost, r.endpoint, r.seq = enc.DialCost, enc.Endpoint, enc.Seq
	r.waitStart, r.waitEnd = int64(enc.WaitStart), int64(enc.WaitEnd)
	if left := r.remaining(now.unix); left > 0 {
		r.until = now.mono.Add(left)
	}
	return r, nil
}
