package upstream

import (
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// together has a goroutine for each of the nodes call change, all at once, again
// and again until it was called b.N times. What is set in one call is reset in
// the next.
func together(b *testing.B, nodes []*enode.Node, change func(n *enode.Node, set bool)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i, n := range nodes {
		calls := b.N / len(nodes)
		if i < b.N%len(nodes) {
			calls++
		}
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			for k := range calls {
				change(n, k%2 == 0)
			}
		})
	}
	ready.Wait()
	b.ResetTimer()
	close(start)
	done.Wait()
}
