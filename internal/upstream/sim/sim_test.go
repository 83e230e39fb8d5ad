package main

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil/simnet"
	"github.com/lespool/lespool/serverpool"
)

// What the command asks of this binary.
var (
	scenarioFlag = flag.String("sim.scenario", "", "name of the scenario to run")
	sideFlag     = flag.String("sim.side", "", "whose pool to run")
	seedFlag     = flag.Uint64("sim.seed", 1, "seed of the network")
	overdialFlag = flag.Int("sim.overdial", 1, "of simnet.ClientConfig")
	aheadFlag    = flag.Int("sim.ahead", 0, "of simnet.ClientConfig")
	outFlag      = flag.String("sim.out", "", "file for the figures, as JSON")
)

// TestSimulate runs one scenario with one side, as the command asks.
func TestSimulate(t *testing.T) {
	if *scenarioFlag == "" {
		t.Skip("runs a scenario that the command names")
	}
	sc, open := scenarioByName(*scenarioFlag), sides[*sideFlag]
	if sc == nil || open == nil {
		t.Fatalf("no scenario %q or side %q", *scenarioFlag, *sideFlag)
	}
	var figures map[string]float64
	if sc.speed {
		figures = newTrial(t, sc, open, *seedFlag).speed()
	} else {
		synctest.Test(t, func(t *testing.T) {
			needVirtualClock(t)
			figures = newTrial(t, sc, open, *seedFlag).run()
		})
	}
	text, err := json.Marshal(figures)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*outFlag, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// In a bubble the clock of both sides has to go with the bubble's time.
func needVirtualClock(t *testing.T) {
	before := mclock.Now()
	time.Sleep(time.Hour)
	if passed := mclock.Now().Sub(before); passed != time.Hour {
		t.Fatalf("in an hour of virtual time the clock went on by %v: not built by the command", passed)
	}
}

// downtime is how long it takes to start again. Queries that the pool has not
// waited for have ended by then.
const downtime = 5 * time.Second

// dbKey stands before the pools' entries.
var dbKey = []byte("pool:")

// trial is one run of a scenario.
type trial struct {
	t     *testing.T
	sc    *scenario
	open  opener
	seed  uint64
	net   *simnet.Network
	store *memorydb.Database
}

// opener makes and starts a side's pool.
type opener func(tr *trial, app application) opened

// opened is a running pool.
type opened struct {
	pool simnet.Pool
	it   enode.Iterator // of candidates
	stop func()
}

func newTrial(t *testing.T, sc *scenario, open opener, seed uint64) *trial {
	network, err := simnet.New(sc.config(seed), mclock.System{})
	if err != nil {
		t.Fatal(err)
	}
	return &trial{t: t, sc: sc, open: open, seed: seed, net: network, store: memorydb.New()}
}

// run plays the scenario and returns what was measured.
func (tr *trial) run() map[string]float64 {
	figures := make(map[string]float64)
	if tr.sc.memory {
		return tr.memory()
	}
	if tr.sc.known > 0 {
		tr.befriend()
	}
	if tr.sc.before > 0 {
		record := tr.play(tr.sc.before, tr.sc.crash)
		figures["survivors"] = tr.survivors(record)
	}
	record := tr.play(tr.sc.length, false)
	tr.measure(record, figures)
	return figures
}

// play has a client use a pool for a while. A crash leaves in the store what is
// there at that moment.
func (tr *trial) play(length time.Duration, crash bool) simnet.Record {
	client := tr.newClient()
	pool := tr.open(tr, tr.application(client))
	client.Start(pool.pool)
	time.Sleep(length)
	synctest.Wait()
	record := client.Record()
	var survivor *memorydb.Database
	if crash {
		survivor = copyOf(tr.t, tr.store)
	}
	client.Stop()
	pool.stop()
	time.Sleep(downtime)
	if crash {
		tr.store = survivor
	}
	return record
}

func (tr *trial) newClient() *simnet.Client {
	return simnet.NewClient(tr.net, simnet.ClientConfig{Overdial: *overdialFlag, Ahead: *aheadFlag})
}

func (tr *trial) application(c *simnet.Client) application {
	app := application{source: tr.source().Iterator(), disconnect: c.Disconnect}
	if !tr.sc.noQuery {
		app.ask = func(_ context.Context, n *enode.Node) simnet.Answer { return c.Ask(n) }
	}
	return app
}

func (tr *trial) source() *simnet.Source {
	rate := tr.sc.rate
	if rate == 0 {
		rate = 10
	}
	if tr.sc.list > 0 {
		return tr.net.List(tr.sc.list, rate)
	}
	return tr.net.Stream(rate)
}

func copyOf(t *testing.T, db *memorydb.Database) *memorydb.Database {
	c := memorydb.New()
	it := db.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		if err := c.Put(it.Key(), it.Value()); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// befriend makes servers known to a pool: each serves the same for a while.
func (tr *trial) befriend() {
	client := tr.newClient()
	pool := tr.open(tr, tr.application(client))
	for i := range tr.sc.known {
		n := tr.net.Node(i)
		tracker, err := pool.pool.Register(n)
		if err != nil {
			tr.t.Fatal(err)
		}
		for range 1000 {
			tracker.Served(100 * time.Millisecond)
		}
		time.Sleep(time.Second)
		pool.pool.Unregister(n)
	}
	time.Sleep(2 * time.Minute)
	pool.stop()
	time.Sleep(downtime)
}

// known reads the store, which both sides write in the same format.
func (tr *trial) known() map[enode.ID]bool {
	p, err := serverpool.New(serverpool.Config{
		Store: copyOf(tr.t, tr.store), DBKey: dbKey, Clock: mclock.System{}, Requests: requests,
	})
	if err != nil {
		tr.t.Fatal(err)
	}
	defer p.Stop()
	p.Start()
	known := make(map[enode.ID]bool)
	for _, n := range p.KnownServers() {
		known[n.ID()] = true
	}
	return known
}

// survivors returns which share of the servers that are not poor and served for
// more than two minutes are known by what is in the store.
func (tr *trial) survivors(record simnet.Record) float64 {
	known, served := tr.known(), make(map[int]bool)
	kept := 0
	for _, s := range record.Sessions {
		class, sybil := tr.net.Class(s.Server)
		if s.End == 0 {
			s.End = tr.sc.before
		}
		if class == simnet.Poor || sybil || s.End-s.Begin < 2*time.Minute || served[s.Server] {
			continue
		}
		served[s.Server] = true
		if known[tr.net.Node(s.Server).ID()] {
			kept++
		}
	}
	if len(served) == 0 {
		return 1
	}
	return float64(kept) / float64(len(served))
}

// measure takes the figures from a record.
func (tr *trial) measure(r simnet.Record, figures map[string]float64) {
	hours := tr.sc.length.Hours()
	for k, name := range map[int]string{1: "first", 5: "fifth"} {
		m, ok := r.First(k)
		if !ok {
			m = simnet.Milestone{At: tr.sc.length, Dials: r.Dials, Queries: r.Queries}
		}
		figures[name] = m.At.Seconds()
		figures[name+"dials"] = float64(m.Dials)
		figures[name+"queries"] = float64(m.Queries)
	}
	figures["good"] = r.Share(simnet.Good)
	figures["poor"] = r.Share(simnet.Poor)
	figures["sybils"] = r.Sybils()
	figures["answer"] = r.Answers.Mean().Seconds()
	figures["answer90"] = r.Answers.Quantile(0.9).Seconds()
	figures["lost"] = float64(r.Lost) / float64(max(r.Lost+r.Answers.Count, 1))
	figures["dials"] = float64(r.Dials) / hours
	figures["wasted"] = float64(r.Wasted) / hours
	figures["queries"] = float64(r.Queries) / hours
	figures["drops"] = float64(r.Drops) / hours
	figures["short"] = r.ShortOf.Seconds() / tr.sc.length.Seconds()
	figures["crowded"] = float64(r.Crowded) / float64(max(r.Dials, 1))
}
