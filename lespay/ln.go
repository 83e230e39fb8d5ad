package lespay

import "math"

// ln returns the natural logarithm of a normal positive number, within 1e-12.
// It is several times as fast as math.Log, which every answer would wait for: a
// table has the logarithm of the nearest of 64 numbers in [1, 2), and a few
// terms of a series do the rest.
func ln(x float64) float64 {
	const mantissa = 52
	b := math.Float64bits(x)
	exp := int(b>>mantissa) - 1023
	near := &lnTable[b>>(mantissa-lnBits)&(1<<lnBits-1)]
	m := math.Float64frombits(b&(1<<mantissa-1) | 1023<<mantissa)
	z := m*near.inverse - 1 // |z| < 2^-7
	series := z * (1 - z*(1./2-z*(1./3-z*(1./4-z*(1./5)))))
	return float64(exp)*math.Ln2 + near.ln + series
}

// lnBits is how many bits of the mantissa select an entry. Growing it by one
// doubles the table and makes the error 2^6 times smaller.
const lnBits = 6

// lnTable has an entry for the middle of each of the 64 intervals.
var lnTable = func() (table [1 << lnBits]struct{ inverse, ln float64 }) {
	for i := range table {
		middle := 1 + (float64(i)+0.5)/(1<<lnBits)
		table[i].inverse, table[i].ln = 1/middle, math.Log(middle)
	}
	return
}()
