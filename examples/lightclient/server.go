package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/p2p/nat"

	"github.com/lespool/lespool/lespay/server"
	"github.com/lespool/lespool/udpquery"
)

const (
	// maxPeers lets every client reach the handshake, where it is refused with
	// a reason, rather than be cut off before.
	maxPeers = 200
	// maxUnderWay is how many requests of one client a server works on at a
	// time; further ones wait in the connection.
	maxUnderWay = 16
	// maxUDPDelay keeps a slow server's answers by UDP within the time that
	// discovery waits for them, also when the first contact takes two trips.
	maxUDPDelay = 150 * time.Millisecond
	// udpTimeout is longer than discovery waits for an answer.
	udpTimeout = time.Second
)

// lightServer is a light server: a p2p.Server that speaks the example's protocol
// and answers capacity queries by UDP, as its plan says.
type lightServer struct {
	plan    serverPlan
	p2p     *p2p.Server
	udp     *udpquery.Server
	clients *server.ClientPool
	ctx     context.Context // ends when the server is closed
	quit    context.CancelFunc

	mu struct {
		sync.Mutex
		rnd *rand.Rand
	}
}

func startServer(p serverPlan, seed uint64) (*lightServer, error) {
	clients, err := newClientPool(p.Slots)
	if err != nil {
		return nil, err
	}
	s := &lightServer{plan: p, clients: clients}
	s.mu.rnd = derive(seed, "run", p.Index)
	s.ctx, s.quit = context.WithCancel(context.Background())
	protocol := p2p.Protocol{
		Name: protocolName, Version: protocolVersion, Length: protocolLength,
		Run: func(peer *p2p.Peer, rw p2p.MsgReadWriter) error {
			hangUp := func() { peer.Disconnect(p2p.DiscTooManyPeers) }
			return s.run(&visitor{node: peer.Node(), hangUp: hangUp}, rw)
		},
	}
	if p.UDP != noEntry {
		protocol.Attributes = []enr.Entry{udpquery.LesEntry{Version: udpquery.Version}}
	}
	s.p2p = &p2p.Server{Config: p2p.Config{
		PrivateKey: p.Key, Name: fmt.Sprintf("lightserver-%d", p.Index),
		ListenAddr: p.addr(),
		NAT:        nat.ExtIP(p.IP), // or the record would say 127.0.0.1
		MaxPeers:   maxPeers, MaxPendingPeers: maxPeers,
		NoDial: true, DiscoveryV5: true,
		Protocols: []p2p.Protocol{protocol},
		Logger:    log.NewLogger(log.DiscardHandler()),
	}}
	if err := s.p2p.Start(); err != nil {
		s.p2p.Stop() // the TCP listener may be open
		s.clients.Stop()
		s.quit()
		return nil, fmt.Errorf("server %d on %s: %w", p.Index, p.addr(), err)
	}
	if err := s.startUDP(); err != nil {
		s.close()
		return nil, fmt.Errorf("server %d: %w", p.Index, err)
	}
	return s, nil
}

func (s *lightServer) startUDP() error {
	s.udp = udpquery.NewServer(0)
	var service udpquery.Service = s.clients
	if s.plan.Admission == liar {
		service = liarService{}
	}
	if err := s.udp.Register(service, "les", "capacity"); err != nil {
		return err
	}
	if s.plan.UDP != mute {
		s.p2p.DiscoveryV5().RegisterTalkHandler("vfx", s.talk)
	}
	return nil
}

// talk answers a TALKREQ.
func (s *lightServer) talk(n *enode.Node, addr *net.UDPAddr, msg []byte) []byte {
	if s.plan.UDP == silent {
		s.pause(udpTimeout)
		return nil
	}
	s.pause(min(s.plan.Latency, maxUDPDelay))
	return s.udp.ServeNode(n, addr, msg)
}

// close ends the server; it returns when its goroutines have ended, but for
// those of go-ethereum's node database, which take another second.
func (s *lightServer) close() {
	s.quit()
	if s.udp != nil {
		s.udp.Stop()
	}
	s.clients.Stop()
	s.p2p.Stop()
}

// pause returns after d, or false as soon as the server is closed.
func (s *lightServer) pause(d time.Duration) bool { return pause(s.ctx, d) }

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run is the server's side of the protocol.
func (s *lightServer) run(client *visitor, rw p2p.MsgReadWriter) error {
	var hello status
	err := within(handshakeTimeout, func() error {
		msg, err := rw.ReadMsg()
		if err != nil {
			return err
		}
		return decode(msg, statusMsg, &hello)
	})
	if err != nil {
		return err
	}
	if hello.Version != protocolVersion {
		return p2p.DiscIncompatibleVersion
	}
	balance := s.clients.Register(client)
	defer s.clients.Unregister(client)
	capacity := client.capacity.Load()
	if balance == nil || capacity == 0 {
		s.pause(s.plan.RefuseAfter)
		return p2p.DiscTooManyPeers
	}
	welcome := status{Version: protocolVersion, Capacity: capacity, Costs: s.costs()}
	if err := p2p.Send(rw, statusMsg, &welcome); err != nil {
		return err
	}
	return s.serve(rw, balance)
}

func (s *lightServer) costs() []uint64 {
	costs := make([]uint64, len(requestTypes))
	for i, t := range requestTypes {
		costs[i] = uint64(float64(t.Cost) * s.plan.Price)
	}
	return costs
}

// serve reads requests until the connection ends, and charges for them.
func (s *lightServer) serve(rw p2p.MsgReadWriter, balance server.ConnectedBalance) error {
	costs := s.costs()
	var answering sync.WaitGroup
	defer answering.Wait()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	underWay := make(chan struct{}, maxUnderWay)
	for {
		msg, err := rw.ReadMsg()
		if err != nil {
			return err
		}
		var req request
		if err := decode(msg, requestMsg, &req); err != nil {
			return err
		}
		if !req.valid() {
			return fmt.Errorf("%w: request of %d items of type %d", p2p.DiscProtocolError, req.Amount, req.Type)
		}
		balance.RequestServed(costs[req.Type] * req.Amount)
		select {
		case underWay <- struct{}{}:
		case <-ctx.Done():
			return p2p.DiscQuitting
		}
		answering.Go(func() {
			s.answer(ctx, rw, req)
			<-underWay
		})
	}
}

// answer sends the answer to a valid request when its time has come; or a wrong
// one, or none.
func (s *lightServer) answer(ctx context.Context, rw p2p.MsgReadWriter, req request) {
	delay, lost, wrong := s.fate(req)
	if lost || !pause(ctx, delay) {
		return
	}
	a := answer{ID: req.ID, Data: make([]byte, req.size())}
	for i := range a.Data {
		a.Data[i] = byte(req.ID + uint64(i))
	}
	a.Sum = req.sum(a.Data)
	if wrong {
		a.Data[0] ^= 1
	}
	_ = p2p.Send(rw, answerMsg, &a) // an error ends the reading too
}

// fate draws what becomes of a request. Half of the failures are silence, half
// are wrong answers. The delay is around the server's latency, half as long to
// twice as long.
func (s *lightServer) fate(req request) (delay time.Duration, lost, wrong bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	work := 1 + requestTypes[req.Type].Work*float64(req.Amount)
	jitter := 0.5 + 0.5*s.mu.rnd.Float64() + s.mu.rnd.Float64()*s.mu.rnd.Float64()
	failed := s.mu.rnd.Float64() >= s.plan.Reliability
	lost = failed && s.mu.rnd.IntN(2) == 0
	return time.Duration(float64(s.plan.Latency) * work * jitter), lost, failed && !lost
}
