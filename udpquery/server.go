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
// those who ask most when there are too many. All methods may be called
// concurrently.
type Server struct {
	clock    mclock.Clock
	registry atomic.Pointer[registry] // replaced under mu, never changed
	idle     chan struct{}            // closed when stopped and nothing is in service
	overflow sync.Once

	mu struct {
		sync.Mutex
		limiter  *limiter
		alarm    *alarm // nil if none is set
		stopped  bool
		panicLog mclock.AbsTime // no line before
	}
}

// alarm is a timer that calls Server.wake at the time.
type alarm struct {
	at    mclock.AbsTime
	timer mclock.Timer
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
	s := &Server{clock: cfg.Clock, idle: make(chan struct{})}
	s.registry.Store(new(registry))
	s.mu.limiter = newLimiter(cfg.DelayPerRequest, cfg.Rand)
	s.mu.panicLog = s.clock.Now()
	return s
}

// ServeNode answers an encoded batch; nil means that it is not answered. It fits
// discover.TalkRequestHandler of go-ethereum v1.17.10.
func (s *Server) ServeNode(n *enode.Node, addr *net.UDPAddr, req []byte) []byte {
	if n == nil {
		return nil
	}
	return s.ServeEncoded(n.ID(), addr, req)
}

// ServeEncoded answers an encoded batch; nil means that it is not answered. It
// fits discover.TalkRequestHandler of go-ethereum v1.13.5. Replies that make the
// message longer than a UDP packet are left empty.
func (s *Server) ServeEncoded(id enode.ID, addr *net.UDPAddr, req []byte) []byte {
	var batch Requests
	if batch.Decode(req) != nil {
		return nil
	}
	replies := s.serve(id, udpOrigin(id, addr), batch)
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
	return s.serve(id, textOrigin(id, address), requests)
}

func (s *Server) serve(id enode.ID, from origin, batch Requests) Replies {
	if len(batch) == 0 || len(batch) > MaxRequestLength {
		return nil
	}
	t := &ticket{
		id: id, group: from.group, address: from.address, value: s.value(id),
		batch: batch, cost: uint64(len(batch)), answer: make(chan Replies, 1),
	}
	s.mu.Lock()
	if s.mu.stopped {
		s.mu.Unlock()
		return nil
	}
	now := s.clock.Now()
	s.dropLocked(s.mu.limiter.add(now, t))
	s.dispatchLocked(now)
	s.mu.Unlock()
	return <-t.answer
}

// Stop ends every waiting request at once and refuses later ones. It waits until
// the batch in service, if there is one, is done, but no longer than a second.
// Later calls wait likewise.
func (s *Server) Stop() {
	s.mu.Lock()
	if !s.mu.stopped {
		s.mu.stopped = true
		s.dropLocked(s.mu.limiter.clear())
		if s.mu.limiter.serving == nil {
			close(s.idle)
		}
		s.setAlarmLocked(s.clock.Now())
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

// dispatchLocked starts the service of what is due and sets the alarm.
func (s *Server) dispatchLocked(now mclock.AbsTime) {
	if t := s.mu.limiter.next(now); t != nil {
		go s.work(t)
	}
	s.setAlarmLocked(now)
}

// work serves the ticket and those that are due after it. One goroutine at a
// time runs it, because the limiter has one ticket in service.
func (s *Server) work(t *ticket) {
	for t != nil {
		t = s.serveTicket(t)
	}
}

// serveTicket returns the next ticket that is due. Should a service end its
// goroutine by runtime.Goexit, another one takes over.
func (s *Server) serveTicket(t *ticket) (next *ticket) {
	var replies Replies
	returned := false
	defer func() {
		if next = s.finish(t, replies); next != nil && !returned {
			go s.work(next)
		}
	}()
	replies = s.handle(t)
	returned = true
	return nil
}

// finish ends the service of a ticket and begins that of the one it returns.
func (s *Server) finish(t *ticket, replies Replies) (next *ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.limiter.done()
	s.answerLocked(t, replies)
	if s.mu.stopped {
		close(s.idle)
	}
	now := s.clock.Now()
	next = s.mu.limiter.next(now)
	s.setAlarmLocked(now)
	return next
}

// handle gives the requests of a batch to the services, until nobody waits for
// the answer any more.
func (s *Server) handle(t *ticket) Replies {
	services := s.registry.Load().services
	replies := make(Replies, len(t.batch))
	for i, r := range t.batch {
		if i > 0 && s.answered(t) {
			return nil
		}
		if b := services[r.Service]; b != nil {
			replies[i] = s.call(b, t, r)
		}
	}
	return replies
}

func (s *Server) answered(t *ticket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.answered
}

func (s *Server) dropLocked(dropped []*ticket) {
	for _, t := range dropped {
		s.answerLocked(t, nil)
	}
}

func (s *Server) answerLocked(t *ticket, replies Replies) {
	if !t.answered {
		t.answered = true
		t.answer <- replies
	}
}

// setAlarmLocked sees to it that wake is called when the limiter wants it. An
// alarm that is set for earlier stays.
func (s *Server) setAlarmLocked(now mclock.AbsTime) {
	at, ok := s.mu.limiter.wake()
	old := s.mu.alarm
	switch {
	case !ok && !s.mu.stopped, ok && old != nil && old.at <= at:
		return
	case old != nil:
		old.timer.Stop()
		s.mu.alarm = nil
	}
	if ok {
		a := &alarm{at: at}
		a.timer = s.clock.AfterFunc(max(0, at.Sub(now)), func() { s.wake(a) })
		s.mu.alarm = a
	}
}

// wake drops what waited too long and goes on with the rest.
func (s *Server) wake(a *alarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.alarm == a {
		s.mu.alarm = nil
	}
	now := s.clock.Now()
	s.dropLocked(s.mu.limiter.expire(now))
	s.dispatchLocked(now)
}
