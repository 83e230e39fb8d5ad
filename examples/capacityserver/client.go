package main

import (
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/udpquery"
)

// patience is how long a client waits for what should come at once.
const patience = 10 * time.Second

// lightClient is a client of one server.
type lightClient struct {
	name     string
	p2p      *p2p.Server
	query    *udpquery.Client
	capacity chan uint64   // what the server says
	gone     chan struct{} // gets one when a connection has ended
}

func startClient(name string) (*lightClient, error) {
	c := &lightClient{name: name, capacity: make(chan uint64, 100), gone: make(chan struct{}, 1)}
	var err error
	c.p2p, err = startNode(name, p2p.Protocol{Name: protocolName, Version: protocolVersion, Length: 1, Run: c.run})
	if err != nil {
		return nil, err
	}
	c.query, err = udpquery.NewClient(c.p2p.DiscoveryV5(), udpquery.ClientConfig{Fresh: -1})
	if err != nil {
		c.p2p.Stop()
		return nil, err
	}
	return c, nil
}

func (c *lightClient) close() {
	c.query.Close()
	c.p2p.Stop()
}

func (c *lightClient) id() enode.ID { return c.p2p.Self().ID() }

func (c *lightClient) run(_ *p2p.Peer, rw p2p.MsgReadWriter) error {
	defer func() {
		select {
		case c.gone <- struct{}{}:
		default: // it was there twice, as it is dialed again
		}
	}()
	for {
		msg, err := rw.ReadMsg()
		if err != nil {
			return err
		}
		var capacity uint64
		if err := msg.Decode(&capacity); err != nil {
			return err
		}
		c.capacity <- capacity
	}
}

// connect dials the server and returns the capacity that it gives.
func (c *lightClient) connect(srv *enode.Node) (uint64, error) {
	c.p2p.AddPeer(srv)
	return c.next()
}

// next returns the next capacity that the server tells.
func (c *lightClient) next() (uint64, error) {
	select {
	case capacity := <-c.capacity:
		return capacity, nil
	case <-time.After(patience):
		return 0, fmt.Errorf("%s hears nothing from the server", c.name)
	}
}

// ask asks by UDP what capacity the server would give with so many more tokens.
func (c *lightClient) ask(srv *enode.Node, tokens ...int64) (udpquery.CapacityQueryReply, error) {
	query := udpquery.CapacityQueryReq{AddTokens: make([]udpquery.IntOrInf, len(tokens))}
	for i := range tokens {
		query.AddTokens[i].SetInt64(tokens[i])
	}
	var batch udpquery.Requests
	i, err := batch.Add(udpquery.DefaultService, udpquery.CapacityQueryName, query)
	if err != nil {
		return nil, err
	}
	var reply udpquery.CapacityQueryReply
	for range 3 { // the first contact takes several packets
		if err = c.query.Send(srv, batch).Get(i, &reply); err == nil {
			break
		}
	}
	return reply, err
}
