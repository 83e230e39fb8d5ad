package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/ethereum/go-ethereum/p2p/dnsdisc"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/lespool/lespool/internal/testutil/dnstest"
	"github.com/lespool/lespool/udpquery"
)

const (
	treeDomain = "all.lightdemo.test"
	// bootnodes is how many servers a client knows from the beginning.
	bootnodes = 3
)

// network is a number of light servers that really run, on loopback addresses
// only: each has a TCP socket for the protocol and a UDP socket for discovery
// (discv5) and capacity queries. Some are listed in a signed tree of DNS records
// (EIP-1459), which a local DNS server publishes; it also lists a few servers
// that have gone.
type network struct {
	plans   []serverPlan
	servers []*lightServer
	dns     *dnstest.Server
	treeURL string
	close   func()
}

// startNetwork returns when the servers run and know each other. The context
// can end the start only; end the network with Close.
func startNetwork(ctx context.Context, cfg networkConfig) (*network, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &network{plans: plan(cfg, endpoints(cfg.Seed))}
	n.close = sync.OnceFunc(n.shutdown)
	if err := n.start(ctx, cfg); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

func (n *network) start(ctx context.Context, cfg networkConfig) error {
	running := n.plans[:cfg.Servers]
	for _, p := range running {
		if err := probe(p); err != nil {
			return fmt.Errorf("server %d cannot have the address %s; is the network of seed %d running already? (%w)",
				p.Index, p.addr(), cfg.Seed, err)
		}
	}
	for _, p := range running {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := startServer(p, cfg.Seed)
		if err != nil {
			return err
		}
		n.servers = append(n.servers, s)
	}
	n.introduce()
	return n.publish(cfg)
}

// introduce puts every server into the others' tables, as if they had been
// running for long: discv5 passes on only nodes that it has pinged, and pings
// one in a few seconds. A node that is in the table already, but not pinged,
// has to leave first. Each begins with another of the others, since a table
// takes the first 16 of a distance, and half of all nodes are at the same.
func (n *network) introduce() {
	for i, s := range n.servers {
		table := s.p2p.DiscoveryV5()
		for k := range n.servers[1:] {
			other := n.servers[(i+1+k)%len(n.servers)].p2p.Self()
			table.DeleteNode(other)
			table.AddKnownNode(other)
		}
	}
}

// publish signs the tree and serves it.
func (n *network) publish(cfg networkConfig) error {
	var listed []*enode.Node
	for i, p := range n.plans {
		switch {
		case p.Admission == gone:
			record, err := recordOf(p)
			if err != nil {
				return err
			}
			listed = append(listed, record)
		case p.InDNS:
			listed = append(listed, n.servers[i].p2p.Self())
		}
	}
	tree, err := dnsdisc.MakeTree(1, listed, nil)
	if err != nil {
		return err
	}
	n.treeURL, err = tree.Sign(newKey(derive(cfg.Seed, "tree", 0)), treeDomain)
	if err != nil {
		return err
	}
	n.dns, err = dnstest.Start(tree.ToTXT(treeDomain))
	return err
}

// recordOf makes the record of a server that does not run.
func recordOf(p serverPlan) (*enode.Node, error) {
	var r enr.Record
	r.Set(enr.IP(p.IP))
	r.Set(enr.UDP(p.Port))
	r.Set(enr.TCP(p.Port))
	r.Set(udpquery.LesEntry{Version: udpquery.Version})
	if err := enode.SignV4(&r, p.Key); err != nil {
		return nil, err
	}
	return enode.New(enode.ValidSchemes, &r)
}

// TreeURL returns the enrtree:// URL of the DNS tree.
func (n *network) TreeURL() string { return n.treeURL }

// Resolver returns a resolver that asks the network's own DNS server.
func (n *network) Resolver() *net.Resolver { return n.dns.Resolver() }

// Bootnodes returns the servers that a client's discovery begins with.
func (n *network) Bootnodes() []*enode.Node {
	var nodes []*enode.Node
	for _, s := range n.servers[:min(bootnodes, len(n.servers))] {
		nodes = append(nodes, s.p2p.Self())
	}
	return nodes
}

// Requests returns what the servers can be asked for, by request type.
func (n *network) Requests() []requestType { return requestTypes }

// Plans returns what each server is like, those that have gone last.
func (n *network) Plans() []serverPlan { return n.plans }

// Close ends all servers. It returns when they have ended, but for goroutines
// of go-ethereum's node databases which take another second. It may be called
// again.
func (n *network) Close() { n.close() }

func (n *network) shutdown() {
	var closing sync.WaitGroup
	for _, s := range n.servers {
		closing.Go(s.close)
	}
	closing.Wait()
	if n.dns != nil {
		_ = n.dns.Close()
	}
}

// endpoints tells where the servers of a seed listen: each on an address of its
// own, if the system lets it, else on ports of 127.0.0.1.
func endpoints(seed uint64) func(index int) (net.IP, int) {
	own := ownAddresses(seed)
	ip, _ := own(0)
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: ip})
	if err != nil {
		return ownPorts(seed)
	}
	_ = l.Close()
	return own
}

// probe tells whether a server's sockets are free. It is better known before
// the start: one that fails halfway leaves goroutines in go-ethereum.
func probe(p serverPlan) error {
	l, err := net.Listen("tcp4", p.addr())
	if err != nil {
		return err
	}
	pc, err := net.ListenPacket("udp4", p.addr())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return errors.Join(l.Close(), pc.Close())
}
