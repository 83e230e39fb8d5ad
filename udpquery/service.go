package udpquery

import (
	"errors"
	"maps"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// panicLogInterval is the shortest time between two log lines about
// panicking services. Larger, a peer who can provoke a panic fills the log
// less.
const panicLogInterval = 10 * time.Second

// Reasons why [Server.Register] refuses a service.
var (
	ErrServiceTaken = errors.New("udpquery: service id is taken")
	ErrServiceID    = errors.New("udpquery: service id contains ':'")
	ErrNoService    = errors.New("udpquery: service is nil")
	ErrStopped      = errors.New("udpquery: server is stopped")
)

// Service answers the requests that name it.
type Service interface {
	// Handle returns the RLP of the reply, or nil for none. The node's identity
	// is proven; address is its IP address without port and zone, or the hex id
	// for a local node. Handle is never called concurrently by one Server. It
	// should take no more than a few milliseconds and must not call Serve of its
	// own Server. It may keep data, and the reply must not be changed later.
	Handle(id enode.ID, address, name string, data []byte) []byte
}

// Valuer is implemented by services some of whose clients are to be served
// before others, such as those who pay. The sum of a node's values at all
// services decides its share of that half of the server's time which is given
// out by value. Negative values and NaN count as 0.
//
// NodeValue is called once per batch, from many goroutines at once, before the
// batch waits for its turn: it should take microseconds.
type Valuer interface {
	NodeValue(id enode.ID) float64
}

// registry is the services of a Server. It is never changed, but replaced.
type registry struct {
	services map[string]Service
	valuers  []Valuer
}

// Register adds a service under an id, by which requests name it. It refuses nil
// ([ErrNoService]), an id with a colon ([ErrServiceID]) or that is in use
// ([ErrServiceTaken]), and everything after Stop ([ErrStopped]); as callers may
// ignore the error, it is logged too.
func (s *Server) Register(b Service, id, description string) error {
	err := s.register(b, id)
	if err != nil {
		log.Error("UDP query service not registered", "id", id, "description", description, "err", err)
	}
	return err
}

func (s *Server) register(b Service, id string) error {
	if b == nil {
		return ErrNoService
	}
	if strings.Contains(id, ":") {
		return ErrServiceID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.stopped {
		return ErrStopped
	}
	old := s.registry.Load()
	if _, taken := old.services[id]; taken {
		return ErrServiceTaken
	}
	next := &registry{services: maps.Clone(old.services), valuers: old.valuers}
	if next.services == nil {
		next.services = make(map[string]Service)
	}
	next.services[id] = b
	if v, ok := b.(Valuer); ok {
		next.valuers = append(next.valuers[:len(next.valuers):len(next.valuers)], v)
	}
	s.registry.Store(next)
	return nil
}

// value asks the services what the node is worth.
func (s *Server) value(id enode.ID) (sum float64) {
	valuers := s.registry.Load().valuers
	if len(valuers) == 0 {
		return 0
	}
	defer s.recoverPanic("NodeValue")
	for _, v := range valuers {
		sum += sanitizeValue(v.NodeValue(id))
	}
	return sum
}

func (s *Server) call(b Service, id enode.ID, address string, r Request) []byte {
	defer s.recoverPanic(r.Service)
	return b.Handle(id, address, r.Name, r.Params)
}

// recoverPanic is deferred around the calls of services.
func (s *Server) recoverPanic(service string) {
	reason := recover()
	if reason == nil {
		return
	}
	now := s.clock.Now()
	s.mu.Lock()
	due := now >= s.mu.panicLog
	if due {
		s.mu.panicLog = now.Add(panicLogInterval)
	}
	s.mu.Unlock()
	if due {
		log.Error("UDP query service panicked", "service", service, "reason", reason, "stack", string(debug.Stack()))
	}
}
