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
// present one unless the debt is the largest there is: two clients who lose nothing in it must not displace
// each other for ever. It does not rise with the capacity or with the outlook.
func (w worth) estimate(capacity uint64, o outlook) int64 {
	left := w.after(o.future, capacity, o.reqPerNs).after(o.bias, capacity, 0)
	return max(min(left.priority(capacity), w.priority(capacity)-1), -maxBalance)
}

// minPrice is the price below which a balance counts as standing still.
const minPrice = 1e-100

// timeUntil returns how long it takes until the priority at the capacity has
// fallen to the target, if there are no requests: 0 if it has, never if it does
// not. The rates are those at which tokens and debt expire.
func (w worth) timeUntil(target int64, capacity uint64, posRate, negRate float64) time.Duration {
	var ns float64
	if target > 0 {
		goal := float64(target) * float64(capacity)
		if float64(w.pos) <= goal {
			return 0
		}
		return duration(timeToFall(float64(w.pos), goal, w.prices.pos.perNs(capacity, 0), posRate))
	}
	if w.pos > 0 {
		ns = timeToFall(float64(w.pos), 0, w.prices.pos.perNs(capacity, 0), posRate)
	}
	if debt := -float64(target); debt > float64(w.neg) {
		ns += timeToRise(float64(w.neg), debt, w.prices.neg.perNs(capacity, 0), negRate)
	}
	return duration(ns)
}

// timeToFall returns the ns in which an amount that loses price per ns, and a
// share of rate of itself, falls to the goal. Less than one token is none.
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

// timeToRise is the same for an amount that grows by price per ns; where as much
// expires as is added it stops growing.
func timeToRise(from, goal, price, rate float64) float64 {
	if price < minPrice || rate > 0 && goal >= price/rate {
		return math.Inf(1)
	}
	if rate > 0 {
		return max(0, math.Log((price/rate-from)/(price/rate-goal))/rate)
	}
	return (goal - from) / price
}
