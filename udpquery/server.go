package udpquery

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// stopWait is how long Stop waits for a service that is handling a request.
// Larger, a slow one is more surely done when Stop returns, and a hanging one
// holds up the shutdown for longer.
const stopWait = time.Second

// ServerConfig holds the parameters of [NewServerFromConfig].
type ServerConfig struct {
	// DelayPerRequest is the mean time that each request of a batch takes from
	// the server's rate: n requests are served in no less than n times this time.
	// It spaces the batches and does not hold back the answer to one. The default
	// and zero value is no limit; at most an hour.
	DelayPerRequest time.Duration

	// Clock times the waiting and the spacing. The default and zero value is
	// mclock.System.
	Clock mclock.Clock

	// Rand decides who is served next; the server uses it alone and under its own
	// lock. The default and zero value is a source with a random seed.
	Rand *rand.Rand
}

// Server answers batches of requests by UDP. Its services handle them one at a
// time; a batch that was not served within 400 ms is dropped, as are batches of
// those who ask most when there are too many. From the first batch on one
// goroutine runs until Stop. All methods may be called concurrently.
type Server struct {
	clock    mclock.Clock
	registry atomic.Pointer[registry] // replaced under mu, never changed
	overflow sync.Once
	due      chan *ticket  // for the worker; one ticket at most is in service
	idle     chan struct{} // closed when stopped and the worker is gone

	mu struct {
		sync.Mutex
		limiter  *limiter
		alarm    *alarm // nil if none is set
		working  bool   // the worker was started
		stopped  bool
		panicLog mclock.AbsTime // no line before
	}
}

// NewServer returns a server without services that serves at most one request
// per delayPerRequest on average. A negative delay counts as 0.
func NewServer(delayPerRequest time.Duration) *Server {
	return newServer(ServerConfig{DelayPerRequest: min(max(delayPerRequest, 0), maxDelay)})
}

// NewServerFromConfig returns a server without services. The error names the
// field that is out of range.
func NewServerFromConfig(cfg ServerConfig) (*Server, error) {
	if cfg.DelayPerRequest < 0 || cfg.DelayPerRequest > maxDelay {
		return nil, fmt.Errorf("udpquery: ServerConfig.DelayPerRequest: %v is not in [0, %v]", cfg.DelayPerRequest, maxDelay)
	}
	return newServer(cfg), nil
}

func newServer(cfg ServerConfig) *Server {
	if cfg.Clock == nil {
		cfg.Clock = mclock.System{}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	s := &Server{clock: cfg.Clock, due: make(chan *ticket, 1), idle: make(chan struct{})}
	s.registry.Store(new(registry))
	s.mu.limiter = newLimiter(cfg.DelayPerRequest, cfg.Rand)
	s.mu.panicLog = s.clock.Now()
	return s
}

// ServeNode answers an encoded batch; nil means that it is not answered. It fits
// discover.TalkRequestHandler of go-ethereum v1.17.10. Replies that make the
// message longer than a UDP packet are left empty.
func (s *Server) ServeNode(n *enode.Node, addr *net.UDPAddr, req []byte) []byte {
	if n == nil {
		return nil
	}
	t := newTicket()
	t.id = n.ID()
	t.from.setUDP(addr)
	return s.serveMessage(t, req)
}

// ServeEncoded is [Server.ServeNode] in the form of discover.TalkRequestHandler
// of go-ethereum v1.13.5.
func (s *Server) ServeEncoded(id enode.ID, addr *net.UDPAddr, req []byte) []byte {
	t := newTicket()
	t.id = id
	t.from.setUDP(addr)
	return s.serveMessage(t, req)
}

// serveMessage runs on a goroutine that the transport made for this message, and
// which begins with a small stack. To move to a larger one takes longer than all
// else here: calls are kept shallow, and what needs room is left to the worker.
func (s *Server) serveMessage(t *ticket, req []byte) []byte {
	if t.batch.Decode(req) != nil || !t.valid() {
		return nil
	}
	if s.admit(t) {
		s.due <- t
	}
	return s.encode(<-t.answer)
}

func (s *Server) encode(replies Replies) []byte {
	if replies == nil {
		return nil
	}
	if n := replies.fit(); n > 0 {
		s.overflow.Do(func() {
			log.Warn("Replies left out of an answer by UDP: packet is full", "number", n, "limit", maxMessage)
		})
	}
	return replies.Encode()
}

// Serve answers a batch from a node at an address, such as "ip" or "ip:port". It
// returns nil if the batch is empty, too long, or dropped, else one reply per
// request, empty where there is none.
func (s *Server) Serve(id enode.ID, address string, requests Requests) Replies {
	t := newTicket()
	t.id, t.from, t.batch = id, textOrigin(address), requests
	if !t.valid() {
		return nil
	}
	if s.admit(t) {
		s.due <- t
	}
	return <-t.answer
}

func (s *Server) startWorker() { go s.work() }

// admit gives the ticket to the limiter. If it returns true, nobody else is
// there and the caller hands the ticket to the worker.
func (s *Server) admit(t *ticket) (handOver bool) {
	t.cost = uint64(len(t.batch))
	t.value = s.value(t.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.stopped {
		t.answer <- nil
		return false
	}
	if !s.mu.working {
		s.mu.working = true
		s.startWorker()
	}
	now := s.clock.Now()
	if s.mu.limiter.addIdle(now, t) {
		s.setAlarmLocked(now)
		return true
	}
	t.group = t.from.group()
	s.dropLocked(s.mu.limiter.add(now, t))
	s.dispatchLocked(now)
	return false
}

// Stop ends every waiting request at once and refuses later ones. It waits until
// the batch in service, if there is one, is done, but no longer than a second.
// Later calls wait likewise.
func (s *Server) Stop() {
	s.mu.Lock()
	if !s.mu.stopped {
		s.mu.stopped = true
		s.dropLocked(s.mu.limiter.clear())
		s.setAlarmLocked(s.clock.Now())
		switch {
		case !s.mu.working:
			close(s.idle)
		case s.mu.limiter.serving == nil:
			close(s.due)
		}
	}
	s.mu.Unlock()

	timer := s.clock.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-s.idle:
	case <-timer.C():
		log.Warn("UDP query service still busy after Stop", "waited", stopWait)
	}
}
