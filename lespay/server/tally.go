package server

import (
	"math"
	"math/bits"

	"github.com/lespool/lespool/lespay"
)

// tally is the exact sum of expiring values that come and go. Those of different
// exponents are summed up apart, so that what was added can be taken out again
// without a trace. There are as many as times that values have halved.
type tally map[uint64]wide

// wide is a number of 128 bits.
type wide struct{ hi, lo uint64 }

func (t tally) add(v lespay.ExpiredValue) {
	if v.IsZero() {
		return
	}
	sum := t[v.Exp]
	var carry uint64
	sum.lo, carry = bits.Add64(sum.lo, v.Base, 0)
	sum.hi += carry
	t[v.Exp] = sum
}

// remove takes out a value that was added.
func (t tally) remove(v lespay.ExpiredValue) {
	sum := t[v.Exp]
	if sum.hi == 0 && sum.lo <= v.Base {
		delete(t, v.Exp)
		return
	}
	var borrow uint64
	sum.lo, borrow = bits.Sub64(sum.lo, v.Base, 0)
	sum.hi -= borrow
	t[v.Exp] = sum
}

// value returns the sum at a log offset, at most the largest uint64.
func (t tally) value(at lespay.Fixed64) (total uint64) {
	for exp, sum := range t { // the order makes no difference
		shift := bits.Len64(sum.hi)
		v := lespay.ExpiredValue{Base: sum.hi<<(64-shift) | sum.lo>>shift, Exp: exp + uint64(shift)}
		var carry uint64
		if total, carry = bits.Add64(total, v.Value(at), 0); carry > 0 {
			return math.MaxUint64
		}
	}
	return total
}
