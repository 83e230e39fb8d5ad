package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/dnsdisc"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/nat"

	"github.com/lespool/lespool/serverpool"
	"github.com/lespool/lespool/udpquery"
)

// wantedServers is how many servers the client keeps connections to.
const wantedServers = 5

// clientConfig says what client to run.
type clientConfig struct {
	// Datadir keeps what the client learns. Empty: a temporary directory, which
	// is removed in the end.
	Datadir string
	// NoQuery has servers dialed without asking them by UDP first.
	NoQuery bool
}

// lightClient is a light client: a p2p.Server that dials what its server pool
// says, and a load of requests for each server that it is connected to.
type lightClient struct {
	pool  *serverpool.ServerPool
	p2p   *p2p.Server
	query atomic.Pointer[udpquery.Client] // needs discovery, which runs later than the pool is made
	stats *stats

	ctx     context.Context // of the requests
	cancel  context.CancelFunc
	tempDir string // to be removed
}

// startLightClient starts a client of the network. It has to be stopped.
func startLightClient(network *network, cfg clientConfig) (*lightClient, error) {
	c := &lightClient{stats: new(stats)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.start(network, cfg); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *lightClient) start(network *network, cfg clientConfig) error {
	if err := c.makePool(network, cfg); err != nil {
		return err
	}
	if err := c.startP2P(network); err != nil {
		return err
	}
	if err := c.addSources(network); err != nil {
		return err
	}
	c.stats.begin()
	c.pool.Start()
	c.stats.restored(c.pool.KnownServers())
	return nil
}

// stop ends the client: first the pool, so that it sees the servers as
// connected until the end, then the connections.
func (c *lightClient) stop() {
	c.cancel()
	if c.pool != nil {
		c.pool.Stop()
	}
	if query := c.query.Load(); query != nil {
		query.Close()
	}
	if c.p2p != nil {
		c.p2p.Stop()
	}
	if c.tempDir != "" {
		_ = os.RemoveAll(c.tempDir)
	}
}

// summary returns the state of the run.
func (c *lightClient) summary() summary { return c.stats.summary(c.pool.Status()) }

// makePool makes the server pool on a database of its own.
func (c *lightClient) makePool(network *network, cfg clientConfig) error {
	if cfg.Datadir == "" {
		dir, err := os.MkdirTemp("", "lightclient-")
		if err != nil {
			return err
		}
		c.tempDir, cfg.Datadir = dir, dir
	}
	config := serverpool.Config{
		Path:   filepath.Join(cfg.Datadir, "serverpool"),
		Wanted: wantedServers,
	}
	for _, kind := range network.Requests() {
		config.Requests = append(config.Requests, serverpool.RequestInfo{
			Name: kind.Name, InitAmount: 1, InitValue: float64(kind.Cost),
		})
	}
	if !cfg.NoQuery {
		config.Query = c.ask
	}
	pool, err := serverpool.New(config)
	if err != nil {
		return err
	}
	c.pool = pool
	return nil
}

// ask is the pool's query: one UDP packet.
func (c *lightClient) ask(ctx context.Context, n *enode.Node) serverpool.Answer {
	return serverpool.Answer(c.query.Load().Ask(ctx, n))
}

// startP2P starts the p2p server, which asks the pool for nodes to dial and
// tells it, through its dialer, what became of them. Half of the peers may be
// dialed ones: a smaller MaxPeers would drop connections after they were made.
func (c *lightClient) startP2P(network *network) error {
	key, err := crypto.GenerateKey()
	if err != nil {
		return err
	}
	c.p2p = &p2p.Server{Config: p2p.Config{
		PrivateKey: key, Name: "lightclient",
		MaxPeers: 2 * wantedServers, DialRatio: 2,
		ListenAddr: "127.0.0.1:0", NAT: nat.ExtIP(net.IPv4(127, 0, 0, 1)),
		DiscoveryV5: true, BootstrapNodesV5: network.Bootnodes(),
		Dialer: c.stats.watch(c.pool.Dialer(nil)),
		Protocols: []p2p.Protocol{{
			Name: protocolName, Version: protocolVersion, Length: protocolLength,
			DialCandidates: c.pool.Iterator(),
			Run:            func(peer *p2p.Peer, rw p2p.MsgReadWriter) error { return c.run(peer.Node(), rw) },
		}},
		Logger: log.NewLogger(log.DiscardHandler()),
	}}
	if err := c.p2p.Start(); err != nil {
		c.p2p.Stop() // its listener may be open
		return fmt.Errorf("client: %w", err)
	}
	query, err := udpquery.NewClient(c.p2p.DiscoveryV5(), udpquery.ClientConfig{
		DialNode: c.pool.DialNode,
		OnRecord: c.pool.Persist,
	})
	c.query.Store(query)
	return err
}

// addSources gives the pool its two sources of nodes.
func (c *lightClient) addSources(network *network) error {
	tree := dnsdisc.NewClient(dnsdisc.Config{Resolver: network.Resolver(), RateLimit: 100})
	listed, err := tree.NewIterator(network.TreeURL())
	if err != nil {
		return err
	}
	c.pool.AddSource(enode.WithSourceName("dns", listed))
	c.pool.AddSource(enode.WithSourceName("discv5", c.p2p.DiscoveryV5().RandomNodes()))
	return nil
}

// run is the client's side of the protocol.
func (c *lightClient) run(server *enode.Node, rw p2p.MsgReadWriter) error {
	s, err := handshake(rw)
	if err != nil {
		return err
	}
	tracker, err := c.pool.RegisterNode(server)
	if err != nil {
		return err
	}
	defer c.pool.UnregisterNode(server)
	c.stats.connected()
	tracker.UpdateCosts(s.server.Costs)
	go c.load(s, tracker)
	return s.serve()
}

// requestInterval is the time between two requests to a server, and
// requestAmounts how many different amounts they have. More requests tell
// servers apart sooner.
const (
	requestInterval = 20 * time.Millisecond
	requestAmounts  = 4
)

// load sends requests to a server until its session is over, and tells the
// tracker what each was worth.
func (c *lightClient) load(s *session, tracker *serverpool.NodeValueTracker) {
	for n := 0; ; n++ {
		if !pause(c.ctx, requestInterval) {
			return
		}
		kind := n % len(requestTypes)
		amount := 1 + n%requestAmounts
		ctx, cancel := context.WithTimeout(c.ctx, c.pool.GetTimeout())
		took, err := s.request(ctx, kind, amount)
		cancel()
		if c.ctx.Err() != nil || errors.Is(err, errClosed) {
			return // nobody's fault
		}
		served := []serverpool.ServedRequest{{ReqType: uint32(kind), Amount: uint32(amount)}}
		if err == nil {
			tracker.Served(served, took)
		} else {
			tracker.Failed(served)
		}
		c.stats.request(took, err)
	}
}
