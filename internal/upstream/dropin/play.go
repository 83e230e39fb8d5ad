package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rpc"
)

// play is a client that meets two servers, one of them full.
type play struct {
	report     *report
	client     *lightClient
	good, full *lightServer
}

// patience is how long an event of the play may take. None is waited for in vain.
const patience = 30 * time.Second

// until waits for something to come true.
func until(what string, ok func() bool) error {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("in vain: %s", what)
		}
	}
	return nil
}

func runPlay(r *report) (err error) {
	p := &play{report: r}
	if p.good, err = newLightServer(memorydb.New(), 1); err != nil {
		return err
	}
	defer p.good.stop()
	if p.full, err = newLightServer(memorydb.New(), 0); err != nil {
		return err
	}
	defer p.full.stop()
	for _, act := range []func() error{p.begin, p.session, p.questions, p.rpcs, p.balances, p.later, p.end} {
		if err := act(); err != nil {
			return err
		}
	}
	return nil
}

// begin starts the client. The full server is known by its URL only.
func (p *play) begin() (err error) {
	full := p.full.p2p.Self()
	byURL := enode.NewV4(full.Pubkey(), full.IP(), full.TCP(), full.UDP())
	source := enode.IterNodes([]*enode.Node{byURL, p.good.p2p.Self()})
	p.client, err = newLightClient(memorydb.New(), nil, source)
	if err != nil {
		return err
	}
	p.report.add("recommended timeout of a new client", p.client.pool.GetTimeout().Round(time.Millisecond))
	p.report.add("DialNode of a node never met", p.client.pool.DialNode(byURL) == byURL)
	return nil
}

func (p *play) session() error {
	c := p.client
	if err := until("a session", func() bool {
		return c.served.Load()+c.late.Load() == requestsPerSession && c.asked.Load() >= 2
	}); err != nil {
		return err
	}
	p.report.add("connected to the server with room", c.p2p.Peers()[0].ID() == p.good.p2p.Self().ID())
	p.report.add("servers connected", c.p2p.PeerCount())
	p.report.add("requests answered", c.served.Load())
	p.report.add("metrics: connected", c.metrics.connected.Snapshot().Value())
	p.report.add("metrics: dialed", c.metrics.dialed.Snapshot().Count())
	p.report.add("metrics: selectable while connected", c.metrics.selectable.Snapshot().Value())
	p.report.add("metrics: session value before its end", c.metrics.sessionValue.Snapshot().Count())
	p.report.add("DialNode of a server met on loopback", c.pool.DialNode(p.good.p2p.Self()).IP())
	p.report.add("capacity granted", p.good.latest().capacity.Load())
	count, capacity := p.good.pool.Active()
	p.report.add("server's active clients and capacity", fmt.Sprint(count, capacity))
	p.report.add("inactive clients", p.good.pool.Inactive())
	return nil
}

// questions are asked by UDP while the client is connected.
func (p *play) questions() error {
	var tokens, all intOrInf
	tokens.SetInt64(1e12)
	all.SetInf(1)
	question := capacityQueryReq{AddTokens: []intOrInf{{}, tokens, all}}
	var batch requests
	for _, r := range [][2]string{{"les", capacityQueryName}, {"les", "zz"}, {"nobody", capacityQueryName}} {
		if _, err := batch.Add(r[0], r[1], &question); err != nil {
			return err
		}
	}
	for i, s := range []*lightServer{p.good, p.full} {
		name := []string{"good", "full"}[i]
		answers := p.client.send(s.p2p.Self(), batch)
		var capacities capacityQueryReply
		p.report.add("capacity query to the "+name+" server", fmt.Sprint(answers.Get(0, &capacities), capacities))
		p.report.add("query by an unknown name, "+name, answers.Get(1, &capacities))
		p.report.add("query to an unknown service, "+name, answers.Get(2, &capacities))
		p.report.add("reply out of range, "+name, errors.Is(answers.Get(3, &capacities), errNoReply))
	}
	return nil
}

// rpcs calls what the pool serves under vflux.
func (p *play) rpcs() error {
	remote := rpc.DialInProc(p.client.rpc)
	defer remote.Close()
	call := func(result any, method string, args ...any) string {
		if err := remote.Call(result, "vflux_"+method, args...); err != nil {
			return "an error"
		}
		return "works"
	}
	server := p.good.p2p.Self().String()
	var stats []struct{ Name string }
	p.report.add("vflux_requestStats", call(&stats, "requestStats"))
	p.report.add("request types", stats)
	var times [][2]float64
	p.report.add("vflux_distribution", call(&times, "distribution", server, true))
	var sum float64
	for _, bin := range times {
		sum += bin[1]
	}
	p.report.add("distribution: bins, sum", fmt.Sprintf("%d %.3f", len(times), sum))
	var value, timeout float64
	p.report.add("vflux_value", call(&value, "value", server, 10.0))
	p.report.add("value of the session", about(value))
	p.report.add("vflux_timeout", call(&timeout, "timeout", "", 0.1))
	p.report.add("9 of 10 answers in time", timeout > 0 && timeout < 1)
	p.report.add("vflux_value of nonsense", call(&value, "value", "nonsense", 1.0))
	p.report.add("vflux_poolStatus", call(new(any), "poolStatus"))
	return nil
}

// balances are looked after by RPC.
func (p *play) balances() error {
	remote := rpc.DialInProc(p.good.rpc)
	defer remote.Close()
	id, pool := p.client.p2p.Self().ID(), p.good.pool
	var balance [2]uint64
	ask := func(method string, args ...any) error { return remote.Call(&balance, "les_"+method, args...) }
	if err := ask("balance", id, ""); err != nil {
		return err
	}
	p.report.add("tokens and debt after the session", balance[0] == 0 && near(balance[1], requestsPerSession*requestAmount*requestCosts[0]))
	_, err := pool.SetCapacity(p.client.p2p.Self(), 2*minCapacity, 0, true)
	p.report.add("raise without tokens", err != nil)
	if err := ask("addBalance", id, int64(1e9)); err != nil {
		return err
	}
	p.report.add("tokens before and after a deposit", balance)
	granted, err := pool.SetCapacity(p.client.p2p.Self(), 5*minCapacity, 0, true)
	p.report.add("raise with tokens", fmt.Sprint(granted, err))
	p.report.add("capacity that the peer was told", p.good.latest().capacity.Load())
	p.report.add("as requested", p.good.latest().requested.Load())
	p.report.add("tokens of all clients", near(pool.TotalTokenAmount(), 1e9))
	last := enode.ID(bytes.Repeat([]byte{0xff}, len(id)))
	for _, stop := range []enode.ID{last, {}} {
		var paying []enode.ID
		if err := remote.Call(&paying, "les_paying", enode.ID{}, stop); err != nil {
			return err
		}
		p.report.add(fmt.Sprintf("clients with tokens, ids up to %x", stop[:2]), len(paying) == 1 && paying[0] == id)
	}
	p.report.add("more tokens than there can be", remote.Call(nil, "les_setBalance", id, uint64(1<<63+5)) != nil)
	return nil
}

// later the recommended timeout is calculated anew, by the answers that came; the
// message handlers ask for it all the time.
func (p *play) later() error {
	var timeout time.Duration
	shown := &p.client.metrics
	if err := until("the timeout follows the answers", func() bool {
		timeout = p.client.pool.GetTimeout()
		return timeout < 2*time.Second && shown.timeout.Snapshot().Value() == timeout.Milliseconds()
	}); err != nil {
		return err
	}
	p.report.add("recommended timeout after fast answers", timeout.Round(100*time.Millisecond))
	p.report.add("metrics: total value", about(float64(shown.totalValue.Snapshot().Value())))
	return nil
}

// about leaves out what depends on the speed of the machine.
func about(value float64) string { return fmt.Sprintf("%.0f hundred", math.Floor(value/100)) }

// near allows for what decays in the seconds of the play.
func near(got, want uint64) bool { return got <= want && got > want-want/100 }

// end hangs up and stops the client.
func (p *play) end() error {
	c := p.client
	close(c.hangUp)
	if err := until("the end of the session", func() bool {
		count, _ := p.good.pool.Active()
		return count == 0 && c.metrics.connected.Snapshot().Value() == 0
	}); err != nil {
		return err
	}
	p.report.add("metrics: session value", about(float64(c.metrics.sessionValue.Snapshot().Count())))
	p.report.add("capacity query after the session", c.query(p.good.p2p.Self()))
	c.stop()
	p.report.add("Next after Stop", c.candidates.Next())
	return nil
}
