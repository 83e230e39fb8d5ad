package main

import (
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/metrics"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/nat"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/rpc"
)

// capacityBias is what a light client asks with, in seconds.
const capacityBias = 180

// requestsPerSession is how many requests the client sends to a server, each of
// the first type, and how many of it are in one.
const (
	requestsPerSession = 50
	requestAmount      = 20
)

// poolMetrics are go-ethereum's objects that the pool shows itself by.
type poolMetrics struct {
	timeout, totalValue, selectable, connected metrics.Gauge
	sessionValue, dialed                       metrics.Meter
}

func newPoolMetrics() poolMetrics {
	return poolMetrics{
		metrics.NewGauge(), metrics.NewGauge(), metrics.NewGauge(), metrics.NewGauge(),
		metrics.NewMeter(), metrics.NewMeter(),
	}
}

// lightClient is a client that asks servers by UDP, dials those that its pool
// gives out, and tells it what came of it.
type lightClient struct {
	pool       *serverPool
	candidates enode.Iterator
	metrics    poolMetrics
	retriever  retriever
	p2p        *p2p.Server
	rpc        *rpc.Server
	hangUp     chan struct{} // closed to end all sessions

	asked  atomic.Int64 // queries by UDP
	served atomic.Int64 // answered requests
	late   atomic.Int64 // unanswered ones
}

// retriever sends requests; how long it waits is up to the pool.
type retriever struct{ timeout func() time.Duration }

// newLightClient makes and starts a client on a database.
func newLightClient(db ethdb.KeyValueStore, trusted []string, sources ...enode.Iterator) (*lightClient, error) {
	c := &lightClient{metrics: newPoolMetrics(), hangUp: make(chan struct{})}
	var query queryFunc = c.query
	c.pool, c.candidates = newServerPool(db, []byte("serverpool:"), time.Second, query, mclock.System{}, trusted, requestList)
	m := &c.metrics
	c.pool.AddMetrics(m.timeout, m.totalValue, m.selectable, m.connected, m.sessionValue, m.dialed)
	c.retriever = retriever{c.pool.GetTimeout}

	// As in existing clients the network runs before the pool does.
	if err := c.startNetwork(); err != nil {
		return nil, err
	}
	if err := c.startRPC(); err != nil {
		return nil, err
	}
	for _, source := range sources {
		c.pool.AddSource(source)
	}
	c.pool.Start()
	return c, nil
}

func (c *lightClient) startNetwork() error {
	key, err := crypto.GenerateKey()
	if err != nil {
		return err
	}
	c.p2p = &p2p.Server{Config: networkConfig("client", p2p.Protocol{
		Name: protocolName, Version: protocolVersion, Length: protocolLength,
		Run:            c.handle,
		DialCandidates: c.candidates,
	})}
	c.p2p.PrivateKey = key
	return c.p2p.Start()
}

// networkConfig is a node on loopback with discv5 and one protocol.
func networkConfig(name string, protocol p2p.Protocol) p2p.Config {
	return p2p.Config{
		Name: name, MaxPeers: 10, DialRatio: 2,
		DiscoveryV5: true,
		ListenAddr:  "127.0.0.1:0", NAT: nat.ExtIP{127, 0, 0, 1},
		Protocols: []p2p.Protocol{protocol},
	}
}

func (c *lightClient) startRPC() error {
	c.rpc = rpc.NewServer()
	for _, api := range c.apis() {
		if err := c.rpc.RegisterName(api.Namespace, api.Service); err != nil {
			return err
		}
	}
	return nil
}

func (c *lightClient) apis() []rpc.API {
	return []rpc.API{{Namespace: "vflux", Service: c.pool.API()}}
}

// stop ends the client, in the order of existing ones.
func (c *lightClient) stop() {
	c.candidates.Close()
	c.pool.Stop()
	c.p2p.Stop()
	c.rpc.Stop()
}

// query asks a server by UDP whether it has room: 1 yes, 0 no, -1 no answer.
func (c *lightClient) query(n *enode.Node) int {
	c.asked.Add(1)
	if n.Seq() == 0 {
		signed, err := c.p2p.DiscV5.RequestENR(c.pool.DialNode(n))
		if err != nil {
			return -1
		}
		n = signed
		c.pool.Persist(n)
	}
	var entry lesEntry
	if n.Load(&entry) != nil || entry.Version < 1 {
		return 1
	}
	var batch requests
	question := capacityQueryReq{Bias: capacityBias, AddTokens: []intOrInf{{}}}
	index, err := batch.Add("les", capacityQueryName, &question)
	if err != nil {
		return -1
	}
	var answer capacityQueryReply
	if c.send(n, batch).Get(index, &answer) != nil || len(answer) != 1 {
		return -1
	}
	if answer[0] == 0 {
		return 0
	}
	return 1
}

// send asks a batch of questions. The first contact takes a handshake, which may
// be lost.
func (c *lightClient) send(n *enode.Node, batch requests) replies {
	message, err := rlp.EncodeToBytes(&batch)
	if err != nil {
		return nil
	}
	for range 3 {
		response, err := c.p2p.DiscV5.TalkRequest(c.pool.DialNode(n), "vfx", message)
		if err != nil {
			continue
		}
		var answers replies
		if rlp.DecodeBytes(response, &answers) == nil {
			return answers
		}
	}
	return nil
}

// handle is the client's side of a connection.
func (c *lightClient) handle(peer *p2p.Peer, rw p2p.MsgReadWriter) error {
	var s status
	if err := receive(rw, statusMsg, &s); err != nil {
		return err
	}
	if s.Capacity == 0 {
		return p2p.DiscTooManyPeers
	}
	tracker, err := c.pool.RegisterNode(peer.Node())
	if err != nil {
		return err
	}
	defer c.pool.UnregisterNode(peer.Node())
	tracker.UpdateCosts(s.Costs)
	for id := range uint64(requestsPerSession) {
		if err := c.request(rw, tracker, id); err != nil {
			return err
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := rw.ReadMsg()
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-c.hangUp:
		return p2p.DiscRequested
	}
}

// request has a request answered, or not, in the time that the pool recommends.
func (c *lightClient) request(rw p2p.MsgReadWriter, tracker *nodeValueTracker, id uint64) error {
	sent := mclock.Now()
	if err := p2p.Send(rw, requestMsg, &request{ID: id, Type: 0, Amount: requestAmount}); err != nil {
		return err
	}
	var answer reply
	if err := receive(rw, replyMsg, &answer); err != nil {
		return err
	}
	took := time.Duration(mclock.Now() - sent)
	if took > c.retriever.timeout() || answer.ID != id {
		c.late.Add(1)
		return nil
	}
	tracker.Served([]servedRequest{{ReqType: 0, Amount: requestAmount}}, took)
	c.served.Add(1)
	return nil
}
