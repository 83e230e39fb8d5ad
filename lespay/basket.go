package lespay

import (
	"errors"
	"fmt"
	"math"
)

const (
	// basketUnit is what one request counts in a basket. Growing it makes
	// rounding finer and brings the end of uint64 nearer. It is part of the
	// stored format.
	basketUnit = 1e6

	// amountFloor is where the decay of an amount in the reference basket ends,
	// a thousandth of a request: below it the request value, value/amount,
	// would be lost in rounding, and a type that nobody used for long would be
	// worth nothing for ever. Growing it keeps request values of rare types more
	// exact, and lets these types weigh a little more than they were used.
	amountFloor = basketUnit / 1000
)

// RequestInfo describes a type of request. Amount and value are the first guess
// at the mix of requests and at their relative prices; what is really used and
// asked for replaces it with time.
type RequestInfo struct {
	Name       string  // unique; stored baskets are matched by it
	InitAmount float64 // requests, not negative
	InitValue  float64 // relative price of one request in any unit, not negative
}

// ServedRequest is an amount of requests of one type, given by its index in the
// request list of the tracker's Config.
type ServedRequest struct {
	ReqType, Amount uint32
}

// RequestStatsItem tells how much a type of request is used and what one of
// them is worth, in average requests.
type RequestStatsItem struct {
	Name                string
	ReqAmount, ReqValue float64
}

// basketItem holds how much of one type of request was used and what all of it
// together is worth, in units of a millionth and inflated.
type basketItem struct {
	Amount, Value uint64
}

// basket is a mix of requests. Its RLP form is [[[amount, value], …], exp].
type basket struct {
	Items []basketItem
	Exp   uint64
}

// raise brings the basket to a larger exponent; a smaller one changes nothing.
func (b *basket) raise(exp uint64) {
	if exp <= b.Exp {
		return
	}
	down := exp - b.Exp
	for i := range b.Items {
		b.Items[i].Amount >>= down
		b.Items[i].Value >>= down
	}
	b.Exp = exp
}

// raiseReference is raise for the reference basket, whose amounts end their
// decay at amountFloor. What shrinks an amount less shrinks its value less.
func (b *basket) raiseReference(exp uint64) {
	if exp <= b.Exp {
		return
	}
	for i := range b.Items {
		it := &b.Items[i]
		down := exp - b.Exp
		for down > 0 && it.Amount>>min(down, 64) < amountFloor {
			down = min(down, 64) - 1
		}
		it.Amount >>= down
		it.Value >>= down
	}
	b.Exp = exp
}

// add adds an amount of requests and what they are worth to one item.
func (it *basketItem) add(amount, value uint64) {
	it.Amount = addSat(it.Amount, amount)
	it.Value = addSat(it.Value, value)
}

func (b *basket) clone() basket {
	return basket{Items: append([]basketItem(nil), b.Items...), Exp: b.Exp}
}

func (b *basket) isZero() bool {
	for _, it := range b.Items {
		if it != (basketItem{}) {
			return false
		}
	}
	return true
}

func (b *basket) sums() (amount, value float64) {
	for _, it := range b.Items {
		amount += float64(it.Amount)
		value += float64(it.Value)
	}
	return
}

// normalize scales the values so that they sum up to the amounts: the average
// request is worth 1. If no value is left but there are amounts, each request
// is worth 1. What differs by rounding only is left alone.
func (b *basket) normalize() {
	amount, value := b.sums()
	if value >= amountFloor && math.Abs(amount-value) <= float64(len(b.Items)) {
		return
	}
	for i := range b.Items {
		it := &b.Items[i]
		if value > 0 {
			it.Value = floatToUint64(float64(it.Value) / value * amount)
		} else {
			it.Value = it.Amount
		}
	}
}

// checkRequests tells what is wrong with a request list, nil if nothing is.
func checkRequests(reqs []RequestInfo) error {
	if len(reqs) == 0 {
		return errors.New("lespay: Config.Requests is empty")
	}
	names := make(map[string]int, len(reqs))
	var amount, value float64
	for i, r := range reqs {
		if first, ok := names[r.Name]; ok {
			return fmt.Errorf("lespay: Config.Requests[%d].Name: %q is also the name of Requests[%d]", i, r.Name, first)
		}
		names[r.Name] = i
		if !(r.InitAmount >= 0) || math.IsInf(r.InitAmount, 1) {
			return fmt.Errorf("lespay: Config.Requests[%d].InitAmount of %q: %v is not a finite number ≥ 0", i, r.Name, r.InitAmount)
		}
		if !(r.InitValue >= 0) || math.IsInf(r.InitValue, 1) {
			return fmt.Errorf("lespay: Config.Requests[%d].InitValue of %q: %v is not a finite number ≥ 0", i, r.Name, r.InitValue)
		}
		amount += r.InitAmount
		value += r.InitAmount * r.InitValue
	}
	if !(amount*basketUnit >= 1) {
		return errors.New("lespay: Config.Requests: every InitAmount is 0, or nearly so")
	}
	if !(value > 0) || math.IsInf(value, 1) {
		return fmt.Errorf("lespay: Config.Requests: the sum of InitAmount·InitValue is %v, it has to be finite and above 0", value)
	}
	return nil
}

// initialBasket returns the reference basket that a checked request list
// describes.
func initialBasket(reqs []RequestInfo) basket {
	const maxAmount = 1 << 40 // requests of one type; leaves room to grow
	b := basket{Items: make([]basketItem, len(reqs))}
	var amount, value float64
	for _, r := range reqs {
		amount += min(r.InitAmount, maxAmount)
		value += min(r.InitAmount, maxAmount) * r.InitValue
	}
	for i, r := range reqs {
		a := min(r.InitAmount, maxAmount)
		b.Items[i] = basketItem{
			Amount: floatToUint64(a * basketUnit),
			Value:  floatToUint64(a * r.InitValue / value * amount * basketUnit),
		}
	}
	return b
}

// fillIn gives the types of request that b does not know yet their initial
// amount and value, scaled by how much the known types have grown since they
// started from init: Σ(amount·init)/Σ(init²).
func (b *basket) fillIn(init basket, known []bool) {
	var grown, square float64
	for i, it := range b.Items {
		if known[i] {
			first := float64(init.Items[i].Amount)
			grown += float64(it.Amount) * first
			square += first * first
		}
	}
	scale := 1.0
	if square > 0 {
		scale = grown / square
	}
	for i := range b.Items {
		if !known[i] {
			b.Items[i].Amount = floatToUint64(float64(init.Items[i].Amount) * scale)
			b.Items[i].Value = floatToUint64(float64(init.Items[i].Value) * scale)
		}
	}
}

// reference is what servers need to know of the reference basket: a view that
// never changes, shared by all of them until the next one.
type reference struct {
	amounts []float64 // of the basket's items, inflated
	values  []float64
	prices  []float64 // request values: value/amount, 0 if there is no amount
}

func (b *basket) view() *reference {
	n := len(b.Items)
	all := make([]float64, 3*n)
	r := &reference{amounts: all[:n:n], values: all[n : 2*n : 2*n], prices: all[2*n:]}
	for i, it := range b.Items {
		r.amounts[i], r.values[i] = float64(it.Amount), float64(it.Value)
		if it.Amount > 0 {
			r.prices[i] = float64(it.Value) / float64(it.Amount)
		}
	}
	return r
}

// tally is what a server's tracker keeps of one type of request: the server's
// cost of one, the reference value of one, and how many were served since the
// last time that they were priced.
type tally struct {
	cost, worth float64
	pending     uint64
}

// costFactor makes a server's costs comparable to those of others: it is what
// the reference basket is worth over what it would cost there, 0 if it would
// cost nothing. Types without a cost, from priced on, are left out of both.
func (r *reference) costFactor(types []tally, priced int) float64 {
	var worth, cost float64
	for i := range types[:priced] {
		worth += r.values[i]
		cost += types[i].cost * r.amounts[i]
	}
	if cost < 1 {
		return 0
	}
	return worth * basketUnit / cost
}

// drain moves a share of b into sum, whose exponent is not below b's. The moved
// values are scaled so that together they are what the moved amounts are worth
// at the reference prices: a server has a say in how request types are priced
// relative to each other, and none in how much it counts. It returns whether
// anything was moved.
func (b *basket) drain(share float64, ref *reference, sum *basket) bool {
	if share == 0 {
		return false
	}
	b.raise(sum.Exp)
	var worth, value float64
	for i, it := range b.Items {
		worth += float64(it.Amount) * ref.prices[i]
		value += float64(it.Value)
	}
	scale := worth / value // not used if there is no value
	moved := false
	for i := range b.Items {
		it := &b.Items[i]
		amount, part := shareOf(it.Amount, share), shareOf(it.Value, share)
		if amount|part == 0 {
			continue
		}
		it.Amount -= amount
		it.Value -= part
		priced := float64(part) * scale
		if value == 0 {
			priced = float64(amount) * ref.prices[i]
		}
		sum.Items[i].add(amount, floatToUint64(priced))
		moved = true
	}
	return moved
}

func shareOf(v uint64, share float64) uint64 {
	return min(floatToUint64(float64(v)*share), v)
}
