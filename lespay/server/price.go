package server

import (
	"math"
	"time"
)

// PriceFactors say what service costs, in tokens. A client has two of them: one
// for what is taken from its tokens, one for what is added to its debt when it
// has none. Factors that are negative or NaN count as 0.
type PriceFactors struct {
	TimeFactor     float64 // per ns of connection
	CapacityFactor float64 // per ns of connection and million units of capacity
	RequestFactor  float64 // per unit of request cost
}

// maxFactor keeps every product of a factor, a capacity and a time finite. It is
// far above any price that means something.
const maxFactor = 1e30

// perNs returns the price of a ns of connection with the given capacity, during
// which requests cost reqPerNs.
func (f PriceFactors) perNs(capacity uint64, reqPerNs float64) float64 {
	return f.TimeFactor + float64(capacity)*f.CapacityFactor/1e6 + f.RequestFactor*reqPerNs
}

func (f PriceFactors) usable() PriceFactors {
	return PriceFactors{usable(f.TimeFactor), usable(f.CapacityFactor), usable(f.RequestFactor)}
}

func usable(factor float64) float64 {
	if !(factor > 0) {
		return 0
	}
	return min(factor, maxFactor)
}

// prices are the factors of a client.
type prices struct {
	pos, neg PriceFactors
}

func (p prices) usable() prices { return prices{p.pos.usable(), p.neg.usable()} }

// defaultPrices are those of light servers: one token pays for a unit of request
// cost, and for the capacity to cause a millionth of one.
var defaultPrices = prices{
	pos: PriceFactors{CapacityFactor: 1, RequestFactor: 1},
	neg: PriceFactors{CapacityFactor: 1, RequestFactor: 1},
}

// floor converts what is not negative to a whole number of tokens, at most
// maxBalance.
func floor(tokens float64) uint64 {
	if tokens >= maxBalance {
		return maxBalance
	}
	return uint64(int64(tokens))
}

// duration converts ns that may be out of range; beyond it is never.
func duration(ns float64) time.Duration {
	if ns >= float64(never) {
		return never
	}
	return time.Duration(math.Ceil(ns))
}
