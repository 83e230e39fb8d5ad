package lespay

import (
	"math"
	"sync"

	"github.com/ethereum/go-ethereum/common/mclock"
)

// ExpirationFactor is 2^(log offset) split into Factor·2^Exp with
// 1 ≤ Factor < 2: additions are multiplied by it and readings divided. Many
// values that expire together share one.
type ExpirationFactor struct {
	Exp    uint64
	Factor float64
}

// ExpFactor splits a log offset; negative ones count as 0.
func ExpFactor(logOffset Fixed64) ExpirationFactor {
	if logOffset < 0 {
		logOffset = 0
	}
	return ExpirationFactor{Exp: logOffset.ToUint64(), Factor: logOffset.Fraction().Pow2()}
}

// Value returns what an inflated amount base with the given exponent is worth:
// base/Factor·2^(exp−Exp). It is never negative, infinite or NaN.
func (e ExpirationFactor) Value(base float64, exp uint64) float64 {
	if !(base > 0) {
		return 0
	}
	v := scalePow2(base/e.factor(), exp, e.Exp)
	return min(v, math.MaxFloat64)
}

// factor returns a usable Factor: the zero value of the struct, which nobody
// initialised, means no inflation.
func (e ExpirationFactor) factor() float64 {
	if e.Factor > 0 && e.Factor <= math.MaxFloat64 {
		return e.Factor
	}
	return 1
}

// scalePow2 returns f·2^(up−down) for exponents of any size.
func scalePow2(f float64, up, down uint64) float64 {
	const enough = 5000 // any finite float times 2^±5000 is 0 or infinite
	switch {
	case up == down:
		return f
	case up > down:
		return math.Ldexp(f, int(min(up-down, enough)))
	}
	return math.Ldexp(f, -int(min(down-up, enough)))
}

// ValueExpirer is what has a log offset that grows with time.
type ValueExpirer interface {
	// SetRate changes the speed from now on. The rate is 1 / time constant in
	// ns: after the time constant, values have fallen to 1/e.
	SetRate(now mclock.AbsTime, rate float64)
	// SetLogOffset sets the offset as of now.
	SetLogOffset(now mclock.AbsTime, logOffset Fixed64)
	// LogOffset returns the offset at now.
	LogOffset(now mclock.AbsTime) Fixed64
}

// Expirer is a log offset that grows linearly with time, by rate/ln 2 a
// nanosecond, and saturates at the largest Fixed64. A clock that goes back
// neither shrinks it nor lets the same span count twice. The zero value stands
// at 0 with rate 0. All methods may be called concurrently.
type Expirer struct {
	mu struct {
		sync.Mutex
		offset Fixed64        // at time since
		since  mclock.AbsTime // when rate and offset were set
		latest mclock.AbsTime // the latest time ever given, not before since
		rate   float64        // 1/ns, finite, not negative
	}
}

var _ ValueExpirer = (*Expirer)(nil)

// SetRate implements [ValueExpirer]. Rates that are NaN or negative count as 0.
func (e *Expirer) SetRate(now mclock.AbsTime, rate float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.offset = e.offsetLocked(now)
	e.mu.since = e.mu.latest
	if !(rate > 0) {
		rate = 0
	}
	e.mu.rate = min(rate, math.MaxFloat64)
}

// SetLogOffset implements [ValueExpirer]. It is the one way to take the offset
// back; now is taken as the present even if later times were seen before.
func (e *Expirer) SetLogOffset(now mclock.AbsTime, logOffset Fixed64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.offset, e.mu.since, e.mu.latest = logOffset, now, now
}

// LogOffset implements [ValueExpirer].
func (e *Expirer) LogOffset(now mclock.AbsTime) Fixed64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.offsetLocked(now)
}

func (e *Expirer) offsetLocked(now mclock.AbsTime) Fixed64 {
	e.mu.latest = max(e.mu.latest, now)
	if e.mu.latest <= e.mu.since {
		return e.mu.offset
	}
	span := float64(e.mu.latest) - float64(e.mu.since)
	return e.mu.offset.plus(growth(span, e.mu.rate))
}

// growth returns by how much a log offset grows in a span of ns at a rate.
func growth(span, rate float64) Fixed64 {
	return Float64ToFixed64(span * rate / math.Ln2)
}
