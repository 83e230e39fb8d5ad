package server

import (
	"net/netip"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/udpquery"
)

var (
	_ udpquery.Service = (*ClientPool)(nil)
	_ udpquery.Valuer  = (*ClientPool)(nil)
)

// Handle implements [udpquery.Service]: it answers capacity queries, and returns
// nil for all else. Register the pool under the id "les".
//
// The answer is what a connection would get at this moment. For each amount of
// tokens, which the client may add to what it has or, if negative, sell, it is the
// largest capacity that SetCapacity grants with that bias after the client has
// connected; 0 if it would not be let in.
func (p *ClientPool) Handle(id enode.ID, address string, name string, data []byte) []byte {
	var q udpquery.CapacityQueryReq
	if name != udpquery.CapacityQueryName || q.Decode(data) != nil || len(q.AddTokens) == 0 {
		return nil
	}
	amounts := make([]int64, len(q.AddTokens))
	for i := range amounts {
		amounts[i] = q.AddTokens[i].Int64()
	}
	results := p.queryCapacity(id, freeClientID(id, address), seconds(q.Bias), amounts)
	if results == nil {
		return nil
	}
	if results[0] == 0 {
		p.cfg.Metrics.QueryZero.Mark(1)
	} else {
		p.cfg.Metrics.QueryNonZero.Mark(1)
	}
	return udpquery.CapacityQueryReply(results).Encode()
}

// queryCapacity returns one result for each amount, nil if the pool is not running.
func (p *ClientPool) queryCapacity(id enode.ID, freeID string, bias time.Duration, amounts []int64) (results []uint64) {
	if !p.cfg.Synced() {
		return make([]uint64, len(amounts))
	}
	if !p.begin() {
		return nil
	}
	defer p.busy.Done()
	held := p.hold(tokenKey(id), debtKey(freeID))
	defer p.release(held)
	p.do(false, func(k *core, now mclock.AbsTime) {
		results = k.query(asker{id, held[0], held[1]}, bias, amounts, now)
	})
	return results
}

// NodeValue implements [udpquery.Valuer]: the tokens of a node, if they are in
// memory. Those who have some are served before a crowd that has none.
func (p *ClientPool) NodeValue(id enode.ID) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.mu.ledger.peek(tokenKey(id))
	if r == nil {
		return 0
	}
	return float64(r.amount(p.mu.ledger.at(p.cfg.Clock.Now()).pos))
}

// seconds converts what is on the wire.
func seconds(s uint64) time.Duration {
	if s > uint64(never/time.Second) {
		return never
	}
	return time.Duration(s) * time.Second
}

// freeClientID returns what a client without tokens is known by: its IP address
// without port and zone, or its id if it is local or the address is none.
func freeClientID(id enode.ID, address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		withPort, err := netip.ParseAddrPort(address)
		if err != nil {
			return id.String()
		}
		ip = withPort.Addr()
	}
	ip = ip.Unmap().WithZone("")
	if ip.IsLoopback() {
		return id.String()
	}
	return ip.String()
}
