package simnet

import (
	"math"
	"math/rand/v2"
	"time"
)

// This file makes chance a function of seed, server and time.

// purposes of a server's generators.
const (
	forPlace = iota
	forPresence
	forRoom
	forEvictions
	forLoss
	forAnswers
	forOrder
	forClasses
	forLeft
)

// generator returns the generator of one server (or of the network, -1) for one
// purpose. part tells apart what is drawn at different times.
func generator(seed uint64, server, purpose int, part uint64) *rand.Rand {
	return rand.New(rand.NewPCG(mix(mix(seed)+uint64(server)), mix(uint64(purpose)<<56^part)))
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, OOPSLA 2014). It makes seeds that differ by
// little differ in all bits.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// never is later than any simulation ends.
const never = time.Duration(math.MaxInt64)

// exponential draws a time with the given mean.
func exponential(rnd *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(min(rnd.ExpFloat64()*float64(mean), float64(never/4))) + 1
}

// alternation is a state that is on and off by turns, for times that are
// exponentially distributed. It begins in equilibrium. Times of questions must
// not decrease.
type alternation struct {
	rnd     *rand.Rand
	on, off time.Duration // means; one of them may be 0, for a state that is always the same
	state   bool
	until   time.Duration // when it changes next
}

func newAlternation(rnd *rand.Rand, on, off time.Duration) *alternation {
	a := &alternation{rnd: rnd, on: on, off: off}
	a.state = rnd.Float64()*float64(on+off) < float64(on)
	a.until = a.spell()
	return a
}

// spell draws how long the state remains as it is.
func (a *alternation) spell() time.Duration {
	switch {
	case a.on == 0 || a.off == 0:
		return never
	case a.state:
		return exponential(a.rnd, a.on)
	default:
		return exponential(a.rnd, a.off)
	}
}

// at returns the state at a time.
func (a *alternation) at(t time.Duration) bool {
	for a.until <= t {
		a.state = !a.state
		a.until += a.spell()
	}
	return a.state
}

// series is a series of events at random times. Times of questions must not
// decrease.
type series struct {
	rnd  *rand.Rand
	mean time.Duration // between events; 0: there are none
	due  time.Duration
}

func newSeries(rnd *rand.Rand, mean time.Duration) *series {
	s := &series{rnd: rnd, mean: mean}
	s.due = s.gap()
	return s
}

func (s *series) gap() time.Duration {
	if s.mean == 0 {
		return never
	}
	return exponential(s.rnd, s.mean)
}

// after returns when the first event after t happens.
func (s *series) after(t time.Duration) time.Duration {
	for s.due <= t {
		s.due += s.gap()
	}
	return s.due
}
