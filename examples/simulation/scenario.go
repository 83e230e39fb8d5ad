package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/lespool/lespool/internal/testutil/simnet"
)

// scenario is a network and how the client meets it.
type scenario struct {
	name, title string
	// edit changes the default network; length is that of the run.
	edit func(c *simnet.Config, length time.Duration)
	list int // discovery begins with so many nodes at once
	// noQuery is set when servers are dialed unasked.
	noQuery bool
	// again is set when the client starts once more after the run, for again of
	// time, with what its pool has stored; with crash, with what was stored at
	// that moment, without a chance to save anything.
	again time.Duration
	crash bool
}

var scenarios = []scenario{
	{name: "usual", title: "most servers full, some records dead, some servers liars"},
	{name: "list", title: "discovery begins with a list of 200 at once", list: 200},
	{name: "half", title: "half of the servers have room", edit: func(c *simnet.Config, _ time.Duration) { c.Full = 0.5 }},
	{name: "noudp", title: "no UDP packet comes through", edit: func(c *simnet.Config, _ time.Duration) { c.NoUDP = true }},
	{name: "mute", title: "a third of the servers takes no UDP queries", edit: func(c *simnet.Config, _ time.Duration) { c.Mute = 0.33 }},
	{name: "noquery", title: "servers are dialed unasked", noQuery: true},
	{name: "sybils", title: "30% sybils, which always have room and are slow; after half of the time they refuse",
		edit: func(c *simnet.Config, length time.Duration) { c.Sybils, c.SybilsRefuse = 0.3, length/2 }},
	{name: "crowd", title: "200 servers share one /24 network", edit: func(c *simnet.Config, _ time.Duration) { c.Crowd = min(200, c.Servers) }},
	{name: "restart", title: "as usual, then the client starts again", again: 10 * time.Minute},
	{name: "crash", title: "as usual, then the client crashes and starts again", again: 10 * time.Minute, crash: true},
}

// sensitivity is the name of what runs the first scenario in changed networks.
const sensitivity = "sensitivity"

func findScenario(name string) (scenario, error) {
	for _, s := range scenarios {
		if s.name == name {
			return s, nil
		}
	}
	return scenario{}, fmt.Errorf("there is no scenario %q, but %s and %s", name, strings.Join(scenarioNames(), ", "), sensitivity)
}

func scenarioNames() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

// network returns the scenario's network.
func (s *scenario) network(servers int, seed uint64, length time.Duration) simnet.Config {
	c := simnet.Default(seed)
	c.Servers = servers
	if s.edit != nil {
		s.edit(&c, length)
	}
	return c
}
