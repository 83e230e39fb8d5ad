package serverpool

import (
	"sync"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// output is the iterator that the pool gives to the application.
type output struct {
	pool *ServerPool
	mu   struct {
		sync.Mutex
		node *enode.Node
	}
	closing sync.Once
	closed  chan struct{}
}

func newOutput(p *ServerPool) *output { return &output{pool: p, closed: make(chan struct{})} }

// Next implements enode.Iterator.
func (it *output) Next() bool {
	select {
	case <-it.pool.started:
	case <-it.closed:
	}
	for {
		candidate := it.pool.ready.next()
		if candidate == nil {
			it.set(nil)
			return false
		}
		if n := it.pool.give(candidate); n != nil {
			it.set(n)
			return true
		}
	}
}

func (it *output) set(n *enode.Node) {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.mu.node = n
}

// Node implements enode.Iterator.
func (it *output) Node() *enode.Node {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.mu.node
}

// Close implements enode.Iterator.
func (it *output) Close() {
	it.closing.Do(func() {
		close(it.closed)
		it.pool.ready.Close()
		it.pool.fill.Close() // and the mix with all sources
		if it.pool.direct != nil {
			it.pool.direct.Close()
		}
	})
}
