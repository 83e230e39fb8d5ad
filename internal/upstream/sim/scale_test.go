package main

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/lespool/lespool/internal/testutil/simnet"
)

// Two figures of a pool that has met very many nodes, neither of which has to do
// with the servers of the network: each query is answered by yes at once, or by
// no for memory.

// Speed is looked at for long enough that the dials of both sides time out while
// others are given out, as they do all the time where candidates are not dialed, and
// on the way after a start, when none has timed out yet.
const (
	speedTime  = 90 * time.Second
	speedStart = 9 * time.Second
)

// speed measures how many candidates a second the pool gives out in real time,
// while discovery brings ever new nodes. It leaves the pool running, as theirs
// takes long to stop.
func (tr *trial) speed() map[string]float64 {
	pool := tr.open(tr, application{source: newFlood(), ask: instantly(simnet.Yes)})
	began := time.Now()
	var candidates atomic.Int64
	go func() {
		for pool.it.Next() {
			candidates.Add(1)
		}
	}()
	rate := func(d time.Duration) float64 {
		time.Sleep(d - time.Since(began))
		return float64(candidates.Load()) / time.Since(began).Seconds()
	}
	return map[string]float64{"speedstart": rate(speedStart), "speed": rate(speedTime)}
}

// memory measures the most memory that the pool takes, in bytes, while it reads
// that many nodes in virtual time, 1,000 a second.
func (tr *trial) memory() map[string]float64 {
	const rate = 1000
	base := heap()
	source := tr.net.Stream(rate).Iterator()
	pool := tr.open(tr, application{source: source, ask: instantly(simnet.No)})
	go pool.it.Next()
	var most uint64
	const samples = 20
	for range samples {
		time.Sleep(time.Duration(tr.net.Len()) * time.Second / rate / samples)
		synctest.Wait()
		most = max(most, heap())
	}
	pool.it.Close()
	pool.stop()
	time.Sleep(downtime)
	return map[string]float64{"memory": float64(most) - float64(base)}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// instantly is a query with the same answer for all.
func instantly(answer simnet.Answer) func(context.Context, *enode.Node) simnet.Answer {
	return func(context.Context, *enode.Node) simnet.Answer { return answer }
}

// flood is a source of ever new nodes, which come as fast as they are read.
type flood struct {
	records []*enr.Record // of different networks
	count   uint64
	node    *enode.Node
	closed  atomic.Bool
}

func newFlood() *flood {
	f := new(flood)
	for i := range 1 << 14 {
		r := new(enr.Record)
		r.SetSeq(1)
		r.Set(enr.IPv4{20 + byte(i>>8), byte(i), 1, 1})
		r.Set(enr.TCP(30303))
		r.Set(enr.UDP(30303))
		r.Set(enr.WithEntry("les", []uint{1}))
		r.SetSig(anyID{}, []byte{1})
		f.records = append(f.records, r)
	}
	return f
}

func (f *flood) Next() bool {
	var id anyID
	binary.BigEndian.PutUint64(id[:], (f.count+1)*0x9e3779b97f4a7c15)
	f.node, _ = enode.New(id, f.records[f.count%uint64(len(f.records))])
	f.count++
	return !f.closed.Load()
}

func (f *flood) Node() *enode.Node { return f.node }
func (f *flood) Close()            { f.closed.Store(true) }

// anyID is an identity scheme without signatures.
type anyID enode.ID

func (anyID) Verify(*enr.Record, []byte) error { return nil }
func (id anyID) NodeAddr(*enr.Record) []byte   { return id[:] }
