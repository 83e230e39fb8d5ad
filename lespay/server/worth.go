package server

import (
	"math"
	"time"
)

// never is a time that is not reached.
const never = time.Duration(math.MaxInt64)

// worth is what a client has at one moment, and what service costs it. All that
// is decided about the client is computed from it.
type worth struct {
	pos, neg uint64 // tokens and debt, at most maxBalance
	prices   prices
}

// priority orders clients with a given capacity above 0: tokens per unit of it,
// or minus the debt where there are no tokens. Higher is better.
func (w worth) priority(capacity uint64) int64 {
	if w.pos > 0 {
		return int64(w.pos / capacity)
	}
	return -int64(w.neg)
}

// after returns what is left after a span of connection. Nothing expires in it.
func (w worth) after(span time.Duration, capacity uint64, reqPerNs float64) worth {
	if span <= 0 {
		return w
	}
	rest := float64(span)
	if w.pos > 0 {
		price := w.prices.pos.perNs(capacity, reqPerNs)
		cost := rest * price
		if whole := floor(cost); whole < w.pos {
			w.pos -= whole
			return w
		}
		rest = max(0, cost-float64(w.pos)) / price // price > 0, as cost is
		w.pos = 0
	}
	debt := floor(rest * w.prices.neg.perNs(capacity, reqPerNs))
	w.neg = min(w.neg+debt, maxBalance)
	return w
}

// outlook is a time to look ahead: future, in which requests cost reqPerNs, and
// bias, a handicap in which there are none.
type outlook struct {
	future   time.Duration
	reqPerNs float64
	bias     time.Duration
}

// estimate returns the priority that is left after the outlook, and less than the
// present one unless the debt is the largest there is: two clients who lose nothing
// in it must not displace each other for ever. It does not rise with the capacity or
// with the outlook.
func (w worth) estimate(capacity uint64, o outlook) int64 {
	left := w.after(o.future, capacity, o.reqPerNs).after(o.bias, capacity, 0)
	return max(min(left.priority(capacity), w.priority(capacity)-1), -maxBalance)
}

// minPrice is the price below which a balance counts as standing still.
const minPrice = 1e-100

// timeToFall returns the ns in which an amount that loses price per ns, and a
// share of rate of itself, falls to the goal; +Inf if it does not. Less than one
// token is none.
func timeToFall(from, goal, price, rate float64) float64 {
	if rate > 0 {
		goal = max(goal, 1)
		return max(0, math.Log((from+price/rate)/(goal+price/rate))/rate)
	}
	if price < minPrice {
		return math.Inf(1)
	}
	return (from - goal) / price
}
