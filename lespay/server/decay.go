package server

import (
	"math"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"

	"github.com/lespool/lespool/lespay"
)

// decay is the expiration of all balances of one sign: a log offset that grows
// with time. Unlike lespay.Expirer it is a plain value, and can be asked for the
// offset at any time.
type decay struct {
	offset lespay.Fixed64 // at since
	since  mclock.AbsTime
	rate   float64 // 1 / time constant in ns; 0 is none

	constant time.Duration // 0 is none
}

// at returns the offset at a time; before since it stands still.
func (d decay) at(t mclock.AbsTime) lespay.Fixed64 {
	if t <= d.since || d.rate == 0 {
		return d.offset
	}
	grown := lespay.Float64ToFixed64(float64(t-d.since) * d.rate / math.Ln2)
	if sum := d.offset + grown; sum >= d.offset {
		return sum
	}
	return math.MaxInt64
}

// setConstant changes the speed from now on: in the time constant values fall to
// 1/e. Zero means that they stay.
func (d *decay) setConstant(now mclock.AbsTime, constant time.Duration) {
	d.offset, d.since = d.at(now), max(d.since, now)
	d.constant, d.rate = max(constant, 0), 0
	if constant > 0 {
		d.rate = 1 / float64(constant)
	}
}

// decays are those of tokens and of debts.
type decays struct {
	pos, neg decay
}

// offsets are their log offsets at one time.
type offsets struct {
	pos, neg lespay.Fixed64
}

func (d *decays) at(t mclock.AbsTime) offsets { return offsets{d.pos.at(t), d.neg.at(t)} }
