package simnet

import (
	"math"
	"math/rand/v2"
	"time"
)

// server is one server, as far as somebody has looked. Its methods have the time
// since the beginning of the network; the times of calls must not decrease.
type server struct {
	cfg   *Config
	index int
	class int // index of Config.Classes
	dead  bool
	liar  bool
	mute  bool
	sybil bool

	rtt     time.Duration
	think   time.Duration
	refuses bool // refuses connections while it is away, instead of keeping silent

	presence  *alternation
	room      *alternation
	free      time.Duration // until when the client's old place is free
	evictions *series
}

func (c *Config) generator(server, purpose int, part uint64) *rand.Rand {
	return generator(c.Seed, server, purpose, part)
}

// settle gives the server its place and its habits.
func (s *server) settle(rtts []time.Duration) {
	rnd := s.cfg.generator(s.index, forPlace, 0)
	s.rtt = time.Duration(float64(rtts[rnd.IntN(len(rtts))]) * s.cfg.latency())
	class := &s.cfg.Classes[s.class]
	s.think = class.ThinkMin + time.Duration(rnd.Float64()*float64(class.ThinkMax-class.ThinkMin))
	if s.sybil {
		s.think = s.cfg.SybilThink
	}
	s.refuses = rnd.IntN(2) == 0
	if s.dead {
		return
	}
	up, down := s.cfg.Up, s.cfg.Down
	if up == 0 {
		up, down = 1, 0
	}
	s.presence = newAlternation(s.cfg.generator(s.index, forPresence, 0), up, down)
	free, full := s.cfg.spells()
	s.room = newAlternation(s.cfg.generator(s.index, forRoom, 0), free, full)
	s.evictions = newSeries(s.cfg.generator(s.index, forEvictions, 0), class.Session)
}

func (c *Config) latency() float64 {
	if c.Latency == 0 {
		return 1
	}
	return c.Latency
}

// spells returns how long servers have room, and are full, on average.
func (c *Config) spells() (free, full time.Duration) {
	switch {
	case c.Full <= 0:
		return 1, 0
	case c.Full >= 1:
		return 0, 1
	}
	cycle := float64(c.Spell) / min(c.Full, 1-c.Full)
	return time.Duration(cycle * (1 - c.Full)), time.Duration(cycle * c.Full)
}

func (s *server) present(t time.Duration) bool { return !s.dead && s.presence.at(t) }

// hasRoom tells whether a client that connects is taken.
func (s *server) hasRoom(t time.Duration) bool {
	if s.sybil {
		return s.cfg.SybilsRefuse == 0 || t < s.cfg.SybilsRefuse
	}
	return !s.liar && (s.room.at(t) || t < s.free)
}

// left is called when the client has ended its session: its place is free until
// somebody else takes it.
func (s *server) left(t time.Duration) {
	if s.cfg.Full > 0 {
		free, _ := s.cfg.spells()
		s.free = t + exponential(s.cfg.generator(s.index, forLeft, uint64(t)), free)
	}
}

// Answer is what comes of a query by UDP.
type Answer int

// Answers.
const (
	Silence Answer = iota
	No
	Yes
)

// ask returns the answer to one query packet.
func (s *server) ask(t time.Duration) Answer {
	switch {
	case s.cfg.NoUDP || s.mute || !s.present(t):
		return Silence
	case s.cfg.Loss > 0 && s.cfg.generator(s.index, forLoss, uint64(t)).Float64() < s.cfg.Loss:
		return Silence
	case s.liar || s.sybil || s.hasRoom(t):
		return Yes
	default:
		return No
	}
}

// sessionEnd returns when a session that exists at t ends from this side.
func (s *server) sessionEnd(t time.Duration) time.Duration {
	end := s.evictions.after(t)
	if s.present(t) {
		end = min(end, s.presence.until)
	}
	return end
}

// lost is the time of an answer that never comes.
const lost = never

// answers draws how long the server takes for each of the requests that were
// sent to it in the second that ends at t, and calls f for each.
func (s *server) answers(t time.Duration, requests int, f func(time.Duration)) {
	rnd := s.cfg.generator(s.index, forAnswers, uint64(t/time.Second))
	class := &s.cfg.Classes[s.class]
	spread, failures := class.Spread, class.Failures
	if s.sybil {
		spread, failures = 0.1, 0
	}
	for range requests {
		factor := math.Exp(spread * rnd.NormFloat64())
		if rnd.Float64() < failures {
			f(lost)
		} else {
			f(s.rtt + time.Duration(factor*float64(s.think)))
		}
	}
}
