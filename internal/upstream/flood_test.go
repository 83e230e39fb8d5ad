package upstream

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/les/vflux"
	geth "github.com/ethereum/go-ethereum/les/vflux/server"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/udpquery"
)

// The limiters under flood: 2,000 nodes, each at an address of its own, ask again
// as soon as they have an answer or were dropped, which is twice as many as a server
// lets wait. The time is that between two batches that are served.
const floodNodes = 2000

func BenchmarkTheirsFlood(b *testing.B) {
	s := geth.NewServer(0)
	served := newServed(b)
	s.Register(served, "les", "flood")
	flood(b, served, s.Stop, func(c servedPeer) {
		s.Serve(c.node.ID(), c.free, vflux.Requests{{Service: "les", Name: "x"}})
	})
}

func BenchmarkOursFlood(b *testing.B) {
	s := udpquery.NewServer(0)
	served := newServed(b)
	if err := s.Register(served, "les", "flood"); err != nil {
		b.Fatal(err)
	}
	flood(b, served, s.Stop, func(c servedPeer) {
		s.Serve(c.node.ID(), c.free, udpquery.Requests{{Service: "les", Name: "x"}})
	})
}

// served is a service that counts what it is asked, up to b.N.
type served struct {
	left atomic.Int64
	done chan struct{}
}

func newServed(b *testing.B) *served {
	s := &served{done: make(chan struct{})}
	s.left.Store(int64(b.N))
	return s
}

// Handle implements the services of both sides.
func (s *served) Handle(enode.ID, string, string, []byte) []byte {
	if s.left.Add(-1) == 0 {
		close(s.done)
	}
	return nil
}

func flood(b *testing.B, s *served, stop func(), ask func(servedPeer)) {
	var asking sync.WaitGroup
	start := make(chan struct{})
	for i := range floodNodes {
		c := servedClient(i)
		asking.Go(func() {
			<-start
			for s.left.Load() > 0 {
				ask(c)
			}
		})
	}
	b.ResetTimer()
	close(start)
	<-s.done
	b.StopTimer()
	asking.Wait()
	stop()
}
