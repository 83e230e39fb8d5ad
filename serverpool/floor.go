package serverpool

import (
	"cmp"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// The floor: waits do not keep the pool without candidates. While somebody asks
// for a server, none is connected and for some time no source has brought a node
// that could be tried, the few that have the least left to wait are let go. So
// an hour without a network does not cost another one afterwards. Bans are not
// affected, and neither is the time between two dials of a node.
const (
	// floorAfter is how long there have to be no candidates. More respects the
	// waits more, less finds a server sooner that has come back. Where all
	// servers are full it is the longest that the pool is idle.
	floorAfter = 5 * time.Minute
	// floorSize is how many nodes are let go at a time.
	floorSize = 5
)

// wait is a node that waits, and until when.
type wait struct {
	id    enode.ID
	until mclock.AbsTime
}

func (a wait) compare(b wait) int {
	return cmp.Or(cmp.Compare(a.until, b.until), compareIDs(a.id, b.id))
}

// leastWaiting returns up to k waits, those that end first.
func leastWaiting(waits []wait, k int) []wait {
	slices.SortFunc(waits, wait.compare)
	return waits[:min(k, len(waits))]
}

// waiting returns the redial waits under way.
func (p *ServerPool) waiting() (waits []wait) {
	for n := range p.ns.All(p.st.redialWait, none) {
		if until, ok := p.ns.TimeoutOf(n, p.st.redialWait); ok {
			waits = append(waits, wait{n.ID(), until})
		}
	}
	return waits
}

// raiseFloor lets some nodes go if there is nobody else to try.
func (p *ServerPool) raiseFloor() {
	released := p.belowFloor()
	if len(released) == 0 {
		return
	}
	p.log.Info("No other servers to try, some need not wait any longer", "count", len(released))
	p.ns.Operation(func(op nodestate.Op) {
		for _, w := range released {
			if n := op.Machine().GetNode(w.id); n != nil {
				p.release(op, n)
			}
		}
	})
}

// belowFloor returns the nodes that need not wait any longer. Those that the
// machine does not know are let go here.
func (p *ServerPool) belowFloor() []wait {
	now := p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mu.needed || len(p.mu.sessions) > 0 {
		p.mu.lastUsable = now
	}
	if now.Sub(p.mu.lastUsable) < floorAfter {
		return nil
	}
	p.mu.lastUsable = now // these get the same time
	waits := slices.DeleteFunc(p.waiting(), func(w wait) bool {
		_, banned := p.mu.bans.active(w.id, now)
		return banned && !p.isTrustedLocked(w.id)
	})
	for _, id := range p.mu.memory.ids() {
		r, _ := p.mu.memory.get(id)
		if _, ok := p.mu.bans.active(id, now); !ok && r.until > now {
			waits = append(waits, wait{id, r.until})
		}
	}
	waits = leastWaiting(waits, floorSize)
	for _, w := range waits {
		p.mu.memory.release(w.id)
	}
	return waits
}
