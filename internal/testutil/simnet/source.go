package simnet

import (
	"math/rand/v2"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Source is what discovery brings: nodes by number, each at its time. It repeats
// the population for ever, each time in another order, which also depends on when
// the source was made. One reader at a time.
type Source struct {
	net   *Network
	every time.Duration // between nodes
	burst int           // nodes that come at once, at first
	order []int32
	rnd   *rand.Rand
	taken int
	due   time.Duration // when the next node comes
}

// Stream returns a source that brings rate nodes a second. It waits while
// nobody reads.
func (n *Network) Stream(rate float64) *Source {
	all := make([]int32, n.total)
	for i := range all {
		all[i] = int32(i)
	}
	return n.source(all, rate, 0)
}

// List returns a source that brings a list of nodes at once: servers and dead
// records as in the whole population, those with real addresses among them. Then
// it repeats the list at a rate of nodes a second.
func (n *Network) List(count int, rate float64) *Source {
	count = min(count, n.total)
	servers := min(int(float64(count)*(1-n.cfg.Dead)+0.5), n.cfg.Servers)
	dead := min(count-servers, n.total-n.cfg.Servers)
	var list []int32
	for i := range servers {
		list = append(list, int32(i))
	}
	for i := range dead {
		list = append(list, int32(n.cfg.Servers+i))
	}
	return n.source(list, rate, len(list))
}

func (n *Network) source(nodes []int32, rate float64, burst int) *Source {
	s := &Source{
		net:   n,
		every: time.Duration(float64(time.Second) / rate),
		burst: burst,
		order: nodes,
		rnd:   n.cfg.generator(-1, forOrder, uint64(n.now())),
		due:   n.now(),
	}
	return s
}

// wait returns how long it takes until the next node is there.
func (s *Source) wait() time.Duration {
	if s.taken < s.burst {
		return 0
	}
	return max(s.due-s.net.now(), 0)
}

// take returns the number of the next node, which must be there.
func (s *Source) take() int {
	k := s.taken % len(s.order)
	// One step of a Fisher-Yates shuffle: as good as a shuffle at the beginning
	// of each round, without its pause where there are many nodes.
	j := k + s.rnd.IntN(len(s.order)-k)
	s.order[k], s.order[j] = s.order[j], s.order[k]
	s.taken++
	if s.taken <= s.burst {
		s.due = s.net.now()
	}
	s.due = max(s.due, s.net.now()) + s.every
	return int(s.order[k])
}

// Feed hands the nodes to put, each at its time, for pools that don't wait. It
// looks at wants as often as nodes may come, and waits as long as that is false.
// The function that it returns ends it.
func (s *Source) Feed(put func(*enode.Node), wants func() bool) (stop func()) {
	stopped := false
	var look func()
	look = func() {
		for !stopped && wants() && s.wait() == 0 {
			put(s.net.Node(s.take()))
		}
		if !stopped {
			s.net.clock.AfterFunc(max(s.wait(), s.every), look)
		}
	}
	s.net.clock.AfterFunc(s.wait(), look)
	return func() { stopped = true }
}
