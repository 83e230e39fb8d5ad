package serverpool

import (
	"context"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// A round is: asked, given out, registered, used, unregistered. The servers are
// of too little value to be known, and each is left alone by the time when it
// comes again; so no read is in vain, which nobody could wait for in this time.
func BenchmarkRound(b *testing.B) {
	for name, query := range map[string]func(context.Context, *enode.Node) Answer{
		"asked":   func(context.Context, *enode.Node) Answer { return Yes },
		"unasked": nil,
	} {
		b.Run(name, func(b *testing.B) {
			clock := new(testutil.Clock)
			p, err := New(Config{Requests: testRequests, Query: query, QueryRate: -1, Clock: clock, MinRedial: 1})
			require.NoError(b, err)
			defer p.Stop()
			nodes := make([]*enode.Node, 1<<15)
			for i := range nodes {
				nodes[i] = testutil.FakeNode(uint64(i), 1)
			}
			p.AddSource(newCycle(nodes...))
			p.Start()
			it := p.Iterator()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !it.Next() {
					b.Fatal("closed")
				}
				tracker, err := p.RegisterNode(it.Node())
				if err != nil {
					b.Fatal(err)
				}
				serve(tracker, 1)
				p.UnregisterNode(it.Node())
				if i%1000 == 999 {
					clock.Run(2 * time.Minute) // waits end, and what was learned is saved
				}
			}
		})
	}
}
