package main

import (
	"time"

	"github.com/lespool/lespool/internal/testutil/simnet"
)

// scenario is a network, what happens in it, and how long it is watched.
type scenario struct {
	name  string // of rows; a word for -scenarios
	title string

	network func(*simnet.Config) // changes the default
	rate    float64              // of discovery, nodes a second; 0: 10
	list    int                  // discovery begins with so many nodes at once
	noQuery bool                 // the pool has no query function
	length  time.Duration        // of the run that is watched

	// before is a run before that, which ends as the next field says. The watched
	// run then begins with what the pool has stored.
	before time.Duration
	crash  bool // with a crash instead of a clean end
	// known is how many servers are made known before, the crowded ones first.
	known int
	// speed and memory have the pool meet very many nodes, and other figures are
	// measured: candidates a second of real time, with all cores, if each query is
	// answered at once; or bytes.
	speed, memory bool
	seeds         int      // how many seeds are run at most; 0: all
	shows         []string // figures beside those that every scenario of its kind shows
}

// shown returns the names of the figures for the table.
func (s *scenario) shown() []string {
	switch {
	case s.speed:
		return []string{"speedstart", "speed"}
	case s.memory:
		return []string{"memory"}
	}
	if s.length < time.Hour {
		return append(s.shows, ofAStart...)
	}
	return append(s.shows, ofALong...)
}

const day = 24 * time.Hour

// scenarios in the order of the table.
var scenarios = []scenario{
	{name: "cold", title: "cold start, discovery 10 a second", length: 10 * time.Minute},
	{name: "list", title: "cold start, list of 200 at once", list: 200, length: 10 * time.Minute},
	{name: "day", title: "24 hours", length: day},
	{name: "restart", title: "restart after 24 hours", before: day, length: 10 * time.Minute, shows: []string{"survivors"}},
	{name: "crash", title: "crash after 1 hour", before: time.Hour, crash: true, length: 10 * time.Minute, shows: []string{"survivors"}},
	{name: "noudp", title: "UDP dead", network: func(c *simnet.Config) { c.NoUDP = true }, length: 2 * time.Hour},
	{name: "sybils", title: "30% sybils, 2 hours", network: sybils, length: 2 * time.Hour, shows: []string{"sybils"}},
	{name: "sybilsday", title: "30% sybils, 24 hours, refusing after 12", network: func(c *simnet.Config) {
		sybils(c)
		c.SybilsRefuse = 12 * time.Hour
	}, length: day, shows: []string{"sybils"}},
	{name: "sybilshalf", title: "30% sybils, half full, 2 hours", network: func(c *simnet.Config) {
		sybils(c)
		c.Full = 0.5
	}, length: 2 * time.Hour, shows: []string{"sybils"}},
	{name: "crowd", title: "190 of 200 known in one /24", network: func(c *simnet.Config) { c.Crowd = 190 }, known: 200, length: 2 * time.Hour, shows: []string{"crowded"}},
	{name: "coldnoquery", title: "no query function, cold start", noQuery: true, length: 10 * time.Minute},
	{name: "daynoquery", title: "no query function, 24 hours", noQuery: true, length: day},
	{name: "speed", title: "ever new nodes, at full speed", speed: true, seeds: 3},
	{name: "memory", title: "1,000,000 discovered nodes, 1,000 a second", memory: true, network: million, seeds: 1},
}

func sybils(c *simnet.Config) { c.Sybils = 0.3 }

func million(c *simnet.Config) { c.Servers, c.Dead = 1e6, 0 }

// with tells whether the scenario is of use for one of our sides: with
// NewServerPool the bound on the rate of queries cannot be taken off.
func (s *scenario) with(side string) bool { return side != "compat" || !s.speed && !s.memory }

func scenarioByName(name string) *scenario {
	for i := range scenarios {
		if scenarios[i].name == name {
			return &scenarios[i]
		}
	}
	return nil
}

// config returns the scenario's network.
func (s *scenario) config(seed uint64) simnet.Config {
	c := simnet.Default(seed)
	if s.network != nil {
		s.network(&c)
	}
	return c
}
