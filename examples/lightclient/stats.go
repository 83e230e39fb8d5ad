package main

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/serverpool"
)

// summary is the state of a run. It is the JSON object that -json prints.
type summary struct {
	Seen              int   `json:"seen"`    // different nodes found
	Asked             int   `json:"asked"`   // capacity queries
	SaidYes           int   `json:"saidYes"` // of these
	SaidNo            int   `json:"saidNo"`
	Silent            int   `json:"silent"`
	Dialed            int   `json:"dialed"`
	Refused           int   `json:"refused"`
	Connected         int   `json:"connected"`         // servers at the end
	FirstConnectionMs int64 `json:"firstConnectionMs"` // from the start of the pool; -1 without one
	RequestsServed    int   `json:"requestsServed"`
	RequestsFailed    int   `json:"requestsFailed"` // no answer in time, or a wrong one
	MedianAnswerMs    int64 `json:"medianAnswerMs"`
	KnownServers      int   `json:"knownServers"`     // at the end
	RestoredServers   int   `json:"restoredServers"`  // known from earlier runs
	KnownDialedFirst  int   `json:"knownDialedFirst"` // dials before the first one of a server not known before

	Words    string            `json:"words"`    // what the pool says of itself
	Outcomes map[string]int    `json:"outcomes"` // nodes, by what came of them last
	Servers  []connectedServer `json:"servers"`  // the connected ones
}

// connectedServer is a connected server, as the pool sees it.
type connectedServer struct {
	ID           enode.ID            `json:"id"`
	Source       string              `json:"source"`
	Value        float64             `json:"value"` // what it gave, in average requests
	MedianAnswer serverpool.Duration `json:"medianAnswer"`
	Percentile90 serverpool.Duration `json:"percentile90"`
}

// stats gathers what a run shows beside the pool's own counters.
type stats struct {
	mu struct {
		sync.Mutex
		start    time.Time     // of the pool
		first    time.Duration // until the first connection; 0 before
		served   int
		failed   int
		answers  []time.Duration // the latest ones
		restored []*enode.Node   // known when the pool started
		dials    []enode.ID      // the first ones
	}
}

const (
	// keptAnswers is how many answers the median is taken of.
	keptAnswers = 1000
	// keptDials is how many of the first dials are remembered.
	keptDials = 100
)

// begin sets the clock to zero.
func (s *stats) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.start = time.Now()
}

// restored takes the servers that are known when the pool starts.
func (s *stats) restored(known []*enode.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.restored = known
}

func (s *stats) connected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.first == 0 {
		s.mu.first = time.Since(s.mu.start)
	}
}

func (s *stats) request(took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.mu.failed++
		return
	}
	s.mu.served++
	if len(s.mu.answers) == keptAnswers {
		s.mu.answers = s.mu.answers[1:]
	}
	s.mu.answers = append(s.mu.answers, took)
}

func (s *stats) dialed(id enode.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.dials) < keptDials {
		s.mu.dials = append(s.mu.dials, id)
	}
}

// knownFirstLocked counts the dials before the first one of a server that was
// not known when the pool started.
func (s *stats) knownFirstLocked() int {
	known := make(map[enode.ID]bool)
	for _, n := range s.mu.restored {
		known[n.ID()] = true
	}
	for i, id := range s.mu.dials {
		if !known[id] {
			return i
		}
	}
	return len(s.mu.dials)
}

// summary returns the state of the run now.
func (s *stats) summary(st serverpool.Status) summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := summary{
		Seen: st.Seen, Asked: st.Asked, SaidYes: st.SaidYes, SaidNo: st.SaidNo, Silent: st.Silent,
		Dialed: st.Dialed, Refused: st.Refused, Connected: st.Connected,
		FirstConnectionMs: -1,
		RequestsServed:    s.mu.served, RequestsFailed: s.mu.failed,
		KnownServers: st.Known, RestoredServers: st.Restored, KnownDialedFirst: s.knownFirstLocked(),
		Words: st.Words, Outcomes: st.Outcomes,
	}
	for _, n := range st.ConnectedServers {
		sum.Servers = append(sum.Servers, connectedServer{n.ID, n.Source, n.Value, n.Median, n.Percentile90})
	}
	if s.mu.first > 0 {
		sum.FirstConnectionMs = s.mu.first.Milliseconds()
	}
	if k := len(s.mu.answers); k > 0 {
		sorted := slices.Sorted(slices.Values(s.mu.answers))
		sum.MedianAnswerMs = sorted[k/2].Milliseconds()
	}
	return sum
}

// watch has every dial counted before it is made.
func (s *stats) watch(next serverpool.NodeDialer) serverpool.NodeDialer { return dialWatch{s, next} }

type dialWatch struct {
	stats *stats
	next  serverpool.NodeDialer
}

// Dial implements p2p.NodeDialer.
func (d dialWatch) Dial(ctx context.Context, n *enode.Node) (net.Conn, error) {
	d.stats.dialed(n.ID())
	return d.next.Dial(ctx, n)
}
