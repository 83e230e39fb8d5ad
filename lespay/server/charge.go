package server

import (
	"math"
	"time"

	"github.com/lespool/lespool/lespay"
)

// maxBalance is the largest number of tokens, and of debt, that anybody has.
const maxBalance = math.MaxInt64

// balance is an amount that expires, with the fraction of a token that is due but
// was not charged yet. Without it every charge would be rounded down, and who is
// charged often enough would pay nothing.
type balance struct {
	lespay.ExpiredValue
	owed float64 // in [0, 1)
}

// amount returns what the balance is at the log offset, at most maxBalance.
func (b *balance) amount(at lespay.Fixed64) uint64 { return min(b.Value(at), maxBalance) }

// exact is amount with the fraction that has not decayed yet.
func (b *balance) exact(at lespay.Fixed64) float64 {
	return lespay.ExpFactor(at).Value(float64(b.Base), b.Exp)
}

// with returns the amount after tokens are added, or removed if negative, without
// leaving the range.
func (b balance) with(tokens int64, at lespay.Fixed64) uint64 {
	if tokens > 0 && b.amount(at) > maxBalance-uint64(tokens) {
		return maxBalance
	}
	b.Add(tokens, at)
	return b.amount(at)
}

// take charges tokens and returns how many were missing. A balance that had less
// is left empty.
func (b *balance) take(tokens float64, at lespay.Fixed64) (missing float64) {
	due := tokens + b.owed
	whole := floor(due)
	taken := -b.Add(-int64(whole), at)
	if uint64(taken) == whole && whole < maxBalance {
		b.owed = due - float64(whole)
		return 0
	}
	b.clear()
	return due - float64(taken)
}

// give adds tokens and stops at maxBalance.
func (b *balance) give(tokens float64, at lespay.Fixed64) {
	due := tokens + b.owed
	whole := floor(due)
	b.owed = 0
	if due < 1<<53 { // beyond, a float has no fraction
		b.owed = due - float64(whole)
	}
	b.Add(int64(min(whole, maxBalance-b.amount(at))), at)
}

func (b *balance) clear() { b.ExpiredValue.Base, b.owed = 0, 0 }

// chargeTime charges for a span of connection: tokens while there are any, debt
// for the rest of the span. What a ns costs in either is given.
func chargeTime(pos, neg *balance, span time.Duration, cost [2]float64, at offsets) {
	rest := float64(span)
	if !pos.IsZero() {
		missing := pos.take(rest*cost[0], at.pos)
		if missing <= 0 {
			return
		}
		rest = min(rest, missing/cost[0])
	}
	neg.give(rest*cost[1], at.neg)
}

// chargeRequest charges for a request in the same way.
func chargeRequest(pos, neg *balance, cost float64, p prices, at offsets) {
	if !pos.IsZero() {
		missing := pos.take(cost*p.pos.RequestFactor, at.pos)
		if missing <= 0 {
			return
		}
		cost = min(cost, missing/p.pos.RequestFactor)
	}
	neg.give(cost*p.neg.RequestFactor, at.neg)
}
