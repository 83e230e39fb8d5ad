package simnet

import (
	"fmt"
	"time"
)

// Class is a kind of servers.
type Class struct {
	Name string
	// Share of the servers that are no sybils.
	Share float64
	// Think is the time that an answer takes beside the round trip: each server
	// has a typical one between the two, evenly distributed, and single answers
	// vary around it by a factor whose logarithm has a standard deviation of
	// Spread.
	ThinkMin, ThinkMax time.Duration
	Spread             float64
	// Failures is the share of requests that are never answered.
	Failures float64
	// Session is how long the server keeps a connection, on average.
	Session time.Duration
}

// Config describes a network. The zero value of a field means what it says, so
// start with [Default].
type Config struct {
	Seed    uint64
	Servers int
	Classes []Class

	// Full is the share of time in which a server has no room. It has room and is
	// full by turns, and what is rarer of the two lasts for Spell on average.
	Full  float64
	Spell time.Duration
	// Up and Down are how long a server is there, and away, on average. Up of
	// 0: always there.
	Up, Down time.Duration
	// Loss is the share of UDP queries that a present server does not answer.
	Loss float64

	// Dead is the share of dead records in what discovery brings.
	Dead float64
	// Liars is the share of servers that say yes by UDP and refuse by TCP.
	Liars float64
	// Mute is the share of servers that take no UDP queries.
	Mute float64
	// NoUDP is set when no answer comes through, whoever is asked.
	NoUDP bool
	// Sybils is the share of servers that always say yes, always have room, and
	// answer in SybilThink. From SybilsRefuse on, if that is not 0, they say yes
	// and refuse by TCP.
	Sybils       float64
	SybilThink   time.Duration
	SybilsRefuse time.Duration

	// Crowd is how many servers, the first ones by number, share one /24 network.
	Crowd int
	// Latency multiplies all round-trip times, 0 stands for 1.
	Latency float64
}

// Class indices of [Default].
const (
	Good = iota
	Average
	Poor
)

// Default returns a network of 2,000 servers: few of them are good, almost all
// are full, and many records are dead. Rates of churn and loss are measured ones,
// see testdata; the others are assumed.
func Default(seed uint64) Config {
	return Config{
		Seed:    seed,
		Servers: 2000,
		Classes: []Class{
			{"good", 0.1, 20 * time.Millisecond, 60 * time.Millisecond, 0.3, 0.005, 5 * time.Hour},
			{"average", 0.5, 150 * time.Millisecond, 400 * time.Millisecond, 0.3, 0.02, 4 * time.Hour},
			{"poor", 0.4, 600 * time.Millisecond, 2 * time.Second, 0.3, 0.1, 3 * time.Hour},
		},
		Full:       0.95,
		Spell:      90 * time.Second,
		Up:         382 * time.Hour,
		Down:       43 * time.Hour,
		Loss:       0.029,
		Dead:       0.3,
		Liars:      0.05,
		SybilThink: 2 * time.Second,
		Latency:    1,
	}
}

func (c *Config) validate() error {
	shares := []struct {
		name  string
		value float64
		below float64
	}{
		{"Full", c.Full, 1}, {"Loss", c.Loss, 1}, {"Dead", c.Dead, 0.99}, {"Liars", c.Liars, 1},
		{"Mute", c.Mute, 1}, {"Sybils", c.Sybils, 1},
	}
	for _, s := range shares {
		if !(s.value >= 0 && s.value <= s.below) {
			return fmt.Errorf("simnet: Config.%s is %v, not between 0 and %v", s.name, s.value, s.below)
		}
	}
	var sum float64
	for _, class := range c.Classes {
		sum += class.Share
	}
	switch {
	case c.Servers < 1:
		return fmt.Errorf("simnet: Config.Servers is %d", c.Servers)
	case len(c.Classes) == 0 || sum < 0.999 || sum > 1.001:
		return fmt.Errorf("simnet: shares of Config.Classes sum up to %v, not 1", sum)
	case c.Full > 0 && c.Full < 1 && c.Spell <= 0:
		return fmt.Errorf("simnet: Config.Spell is %v", c.Spell)
	case c.Up > 0 && c.Down <= 0:
		return fmt.Errorf("simnet: Config.Down is %v", c.Down)
	case c.Crowd < 0 || c.Crowd > min(c.Servers, 250):
		return fmt.Errorf("simnet: Config.Crowd is %d, not between 0 and 250 and the number of servers", c.Crowd)
	case !(c.Latency >= 0):
		return fmt.Errorf("simnet: Config.Latency is %v", c.Latency)
	}
	return nil
}
