package lespay

import (
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// ErrStopped is the error of calls that come after Stop.
var ErrStopped = errors.New("lespay: stopped")

// Forget drops what a server has done: its statistics are empty at once, they
// are subtracted from the global ones, and the record goes with the next update.
// What its requests have told about the mix and the prices of requests stays.
// A registered server stays registered and begins anew. Unknown servers are
// ignored. Errors: [ErrStopped], and that the record could not be read, so that
// nothing was done.
func (vt *ValueTracker) Forget(id enode.ID) error {
	vt.mu.Lock()
	defer vt.mu.Unlock()
	if !vt.knowsLocked(id) {
		return nil
	}
	nv := vt.obtainLocked(id)
	if vt.mu.stopped {
		return ErrStopped
	}
	if !vt.clearLocked(nv) {
		return fmt.Errorf("lespay: statistics of server %v cannot be read", id)
	}
	vt.mu.changed = true
	vt.pinLocked(nv, vt.cfg.Clock.Now()) // the next update finds it worthless
	return nil
}

// knowsLocked tells whether there is anything of a server.
func (vt *ValueTracker) knowsLocked(id enode.ID) bool {
	return vt.mu.nodes[id] != nil || vt.mu.cache.Contains(id) || vt.mu.busy[id] != nil || vt.index.has(id)
}

// clearLocked empties a tracker, unless it lacks what its record says.
func (vt *ValueTracker) clearLocked(nv *NodeValueTracker) bool {
	nv.mu.Lock()
	defer nv.mu.Unlock()
	if nv.mu.unread {
		return false
	}
	nv.mu.fold(&vt.mu.rtStats)
	vt.mu.rtStats.SubStats(&nv.mu.stats)
	nv.mu.stats = ResponseTimeStats{}
	clear(nv.mu.basket.Items)
	nv.mu.dirty = true
	return true
}
