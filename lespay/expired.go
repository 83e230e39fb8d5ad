package lespay

import (
	"math"
	"math/bits"

	"github.com/ethereum/go-ethereum/common/mclock"
)

// ExpiredValue is an amount that decays exponentially. Instead of shrinking it
// all the time, what is added is inflated: at log offset L the value is
// Base·2^(Exp−L), and L grows with time (see [Expirer]). A value which nobody
// touches never has to be rewritten.
//
// Its RLP form is the list [Base, Exp]. The zero value is an amount of 0. It is
// not safe for concurrent use.
type ExpiredValue struct {
	Base, Exp uint64
}

// Value returns the amount at the given log offset, rounded down, at most the
// largest uint64.
func (e ExpiredValue) Value(logOffset Fixed64) uint64 {
	f := ExpFactor(logOffset)
	if e.Exp >= f.Exp {
		return divFactor(e.Base, f.Factor, e.Exp-f.Exp)
	}
	return divFactor(e.Base, f.Factor, 0) >> (f.Exp - e.Exp)
}

// Add adds a positive or negative amount at the given log offset. The value
// never goes below 0 and never wraps around. It returns what was really added:
// amount, or for a too large subtraction minus what was there, or for a too
// large addition what there was room for.
func (e *ExpiredValue) Add(amount int64, logOffset Fixed64) int64 {
	f := ExpFactor(logOffset)
	e.raise(f.Exp)
	down := e.Exp - f.Exp // the base counts in units 2^down times coarser than f's
	if amount >= 0 {
		return e.grow(uint64(amount), f.Factor, down)
	}
	want := -uint64(amount) // also right for the smallest int64
	take := mulFactor(want, f.Factor, down)
	if take <= e.Base {
		e.Base -= take
		return amount
	}
	had := min(divFactor(e.Base, f.Factor, down), want)
	e.Base = 0
	return -int64(had)
}

func (e *ExpiredValue) grow(amount uint64, factor float64, down uint64) int64 {
	add := mulFactor(amount, factor, down)
	room := math.MaxUint64 - e.Base
	if add <= room {
		e.Base += add
		return int64(amount)
	}
	e.Base = math.MaxUint64
	return int64(min(divFactor(room, factor, down), amount))
}

// AddExp adds another value; both decay on as one.
func (e *ExpiredValue) AddExp(a ExpiredValue) {
	e.raise(a.Exp)
	e.Base = addSat(e.Base, a.Base>>(e.Exp-a.Exp))
}

// SubExp subtracts another value, stopping at 0.
func (e *ExpiredValue) SubExp(a ExpiredValue) {
	e.raise(a.Exp)
	e.Base = subSat(e.Base, a.Base>>(e.Exp-a.Exp))
}

// IsZero tells whether nothing is stored. An amount that has decayed below 1 is
// not zero yet.
func (e ExpiredValue) IsZero() bool { return e.Base == 0 }

// raise brings the value to a larger exponent; a smaller one changes nothing.
func (e *ExpiredValue) raise(exp uint64) {
	if exp > e.Exp {
		e.Base >>= exp - e.Exp
		e.Exp = exp
	}
}

// mulFactor returns a·factor/2^down rounded down, exactly, at most the largest
// uint64. The factor is in [1, 2), so its 53 bit mantissa fits a word.
func mulFactor(a uint64, factor float64, down uint64) uint64 {
	hi, lo := bits.Mul64(a, uint64(factor*(1<<52)))
	if hi>>52 == 0 {
		return (hi<<12 | lo>>52) >> down
	}
	if down == 0 {
		return math.MaxUint64
	}
	return (hi<<11 | lo>>53) >> (down - 1) // a·factor < 2^65: one bit less fits
}

// divFactor returns a·2^up/factor rounded down, exactly, at most the largest
// uint64; factor is in [1, 2).
func divFactor(a uint64, factor float64, up uint64) uint64 {
	if a == 0 {
		return 0
	}
	m := uint64(factor * (1 << 52))
	if up > 64 || bits.Len64(a)+int(up) > 76 {
		return math.MaxUint64
	}
	var hi, lo uint64 // a·2^(52+up)
	if s := 52 + uint(up); s < 64 {
		hi, lo = a>>(64-s), a<<s
	} else {
		hi, lo = a<<(s-64), 0
	}
	if hi >= m {
		return math.MaxUint64
	}
	q, _ := bits.Div64(hi, lo, m)
	return q
}

// LinearExpiredValue is a counter that falls by one every Rate nanoseconds and
// never below 0. Only Offset and Val are stored, as the RLP list of the two;
// the owner sets Rate after decoding. A Rate that is not positive means that
// the counter does not fall. It is not safe for concurrent use.
type LinearExpiredValue struct {
	Offset uint64         // whole periods of Rate since time 0, when Val was right
	Val    uint64         // the count at that time
	Rate   mclock.AbsTime `rlp:"-"` // ns until the count falls by one
}

// Value returns the count at the given time.
func (e LinearExpiredValue) Value(now mclock.AbsTime) uint64 {
	return subSat(e.Val, subSat(e.periods(now), e.Offset))
}

// Add changes the count by amount, which may be negative, and returns the new
// count. It stops at 0 and at the largest uint64.
func (e *LinearExpiredValue) Add(amount int64, now mclock.AbsTime) uint64 {
	e.Val = e.Value(now)
	e.Offset = max(e.Offset, e.periods(now))
	if amount >= 0 {
		e.Val = addSat(e.Val, uint64(amount))
	} else {
		e.Val = subSat(e.Val, -uint64(amount))
	}
	return e.Val
}

func (e LinearExpiredValue) periods(now mclock.AbsTime) uint64 {
	if e.Rate <= 0 || now <= 0 {
		return 0
	}
	return uint64(now / e.Rate)
}
