package lespay

import (
	"math"
	"math/bits"
)

// Fixed64 is a signed fixed point number with 24 fractional bits. Log offsets
// are kept in it: they are exponents of two that grow with time, and adding up
// many small steps must not lose the fraction.
type Fixed64 int64

const (
	fixedBits = 24
	fixedOne  = 1 << fixedBits

	maxFixed = Fixed64(math.MaxInt64)
	minFixed = Fixed64(math.MinInt64)
)

// Uint64ToFixed64 converts a whole number. Numbers of 2^39 and above give the
// largest Fixed64.
func Uint64ToFixed64(u uint64) Fixed64 {
	if u > uint64(maxFixed)>>fixedBits {
		return maxFixed
	}
	return Fixed64(u << fixedBits)
}

// Float64ToFixed64 converts a float, dropping what is below the resolution.
// Out of range values give the nearest end of the range and NaN gives 0.
func Float64ToFixed64(f float64) Fixed64 {
	f *= fixedOne
	switch {
	case f >= 1<<63:
		return maxFixed
	case f <= -(1 << 63):
		return minFixed
	case f != f:
		return 0
	}
	return Fixed64(f)
}

// ToUint64 returns the whole part; negative numbers give 0.
func (f Fixed64) ToUint64() uint64 {
	if f < 0 {
		return 0
	}
	return uint64(f) >> fixedBits
}

// Fraction returns what the number is above the nearest whole number that is
// not larger; it is in [0, 1).
func (f Fixed64) Fraction() Fixed64 { return f & (fixedOne - 1) }

// Pow2 returns 2^f.
func (f Fixed64) Pow2() float64 { return math.Exp2(float64(f) / fixedOne) }

// plus adds without leaving the range.
func (f Fixed64) plus(g Fixed64) Fixed64 {
	sum := f + g
	switch {
	case g > 0 && sum < f:
		return maxFixed
	case g < 0 && sum > f:
		return minFixed
	}
	return sum
}

// floatToUint64 truncates f into the range of uint64; NaN gives 0. A plain
// conversion out of range has a result that depends on the processor, and one
// to int64 is faster.
func floatToUint64(f float64) uint64 {
	switch {
	case f < 1:
		return 0
	case f < 1<<63:
		return uint64(int64(f))
	case f < 1<<64:
		return uint64(f)
	case f >= 1<<64:
		return math.MaxUint64
	}
	return 0
}

// addSat adds two numbers, stopping at the largest uint64.
func addSat(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}

// subSat subtracts b from a, stopping at 0.
func subSat(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
