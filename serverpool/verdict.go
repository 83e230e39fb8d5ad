package serverpool

import (
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/rlp"
)

// What the answers of servers, and the lack of them, are worth.
//
// A server that says yes promises room. One that breaks its promise is believed
// less, one that keeps it is believed more, and one that has said no before is
// believed more than one that has not: who has no room to promise says no now and
// then, who lies to be dialed never does.
//
// Silence is the server's or the path's. A server that stays silent while others
// answer takes no queries, or is gone; a dial can tell, at a rate that wastes
// little. When nobody answers it is the path, and all are dialed unasked (the
// black-hole detector of libp2p).

const (
	// muteAfter is how often in a row a server stays silent before it is taken
	// for one that takes no queries. More asks the dead more often, less dials
	// more servers whose packets were lost.
	muteAfter = 2
	// deadPathAfter is how many queries in a row, to any servers, stay silent
	// before the path counts as dead. More takes longer to notice, less gives up
	// queries where many are dead or packets get lost.
	deadPathAfter = 32
	// answerProves is how long an answer proves that the path works: those who
	// stay silent are often the last ones to be heard of. More notices later.
	answerProves = time.Minute
	// probePath is how often a query is made over a dead path. More notices sooner
	// that it works again, less sends less for nothing.
	probePath = 5 * time.Second
	// muteDials is how many servers that take no queries are dialed per second
	// while others do, and muteBurst how many after a quiet time. More finds
	// servers that take none sooner, less wastes fewer dials on dead ones.
	muteDials = 1.0 / 60
	muteBurst = 2

	// ownRecord is how much less than one outcome of its own a server is judged
	// by what became of others' promises.
	ownRecord = 0.5
	// strangersKept and strangersBroken are what is believed of the promises of
	// servers of which nothing is known, before there were any. More is steadier.
	strangersKept, strangersBroken = 1.5, 0.5
	// maxStrangers bounds how many outcomes speak for strangers. More is steadier,
	// fewer follows the network closer.
	maxStrangers = 40

	// Bars for the trust in a promise, from 0 to 1: to replace a server, and when
	// one server is missing. If more are it is enough that the server is no worse
	// than a stranger. Higher ones waste fewer dials, lower ones find servers
	// sooner.
	barReplace = 0.7
	barOne     = 0.6
	// choosy is how long the pool waits for a better promise when one server is
	// missing, and patient how long without any candidate for one that is no worse
	// than a stranger's. More wastes fewer dials, less is sooner.
	choosy  = 15 * time.Second
	patient = time.Minute
)

// conduct is how a server has behaved when it was asked. Counts stop at maxConduct.
type conduct struct {
	answered bool  // ever
	silent   uint8 // in a row
	no       uint8
	kept     uint8
	broken   uint8 // of its promises, halved by each one kept
	at       int64 // of the last change, unix seconds

	// Not stored.
	promised bool           // the last answer was a yes
	heard    mclock.AbsTime // when it was asked last; 0 if it was not
	rtt      time.Duration  // the least time that an answer, or a connection, took; 0 if there was none
	refused  bool           // when it was last dialed unasked it was there, but had no room
}

const maxConduct = 200

func raise(v *uint8) { *v = min(*v+1, maxConduct) }

// hear takes an answer.
func (c *conduct) hear(a Answer) {
	c.promised = a == Yes
	switch a {
	case Silent:
		raise(&c.silent)
		return
	case No:
		raise(&c.no)
	}
	c.answered, c.silent = true, 0
}

// answeredAfter takes how long an answer took.
func (c *conduct) answeredAfter(d time.Duration) {
	if c.rtt == 0 || d < c.rtt {
		c.rtt = d
	}
}

// mute tells whether the server takes no queries, as it seems.
func (c *conduct) mute() bool { return c.silent >= muteAfter }

// outcome takes what became of a dial. It returns false if there was no promise.
func (c *conduct) outcome(kept bool) bool {
	if !c.promised {
		return false
	}
	c.promised = false
	if kept {
		raise(&c.kept)
		c.broken /= 2
	} else {
		raise(&c.broken)
	}
	return true
}

// stranger tells whether nothing speaks for the server or against it.
func (c *conduct) stranger() bool { return c.no == 0 && c.kept == 0 && c.broken == 0 }

// strangers is what became of promises of servers of which nothing was known.
type strangers struct{ kept, broken float64 }

func (s *strangers) outcome(kept bool) {
	if s.kept+s.broken >= maxStrangers {
		s.kept, s.broken = s.kept/2, s.broken/2
	}
	if kept {
		s.kept++
	} else {
		s.broken++
	}
}

// trust returns how much a stranger's promise is worth.
func (s *strangers) trust() float64 {
	return (strangersKept + s.kept) / (strangersKept + strangersBroken + s.kept + s.broken)
}

// trust returns the probability that a promise will be kept, from what the
// server did itself and from what became of strangers' promises.
func (c *conduct) trust(s *strangers) float64 {
	good, all := float64(c.kept), float64(c.kept)+float64(c.broken)
	if c.no > 0 {
		good, all = good+1, all+1
	}
	return (good + ownRecord*s.trust()) / (all + ownRecord)
}

// demand is how much the pool needs a server.
type demand struct {
	missing int           // servers that are wanted and not on their way
	since   time.Duration // how long too few servers have been connected
	idle    time.Duration // of these, since a candidate was given out
	replace bool          // nobody waits; a server is to be replaced
	hurry   bool          // there have not been enough servers yet, or there is none
}

// isChoosy tells whether one server is missing and there is time to find a good
// promise.
func (d demand) isChoosy() bool {
	return !d.replace && !d.hurry && d.missing <= 1 && d.since < choosy && d.idle < patient
}

// bar returns the trust that a promise needs now.
func (d demand) bar(s *strangers) float64 {
	switch {
	case d.replace:
		return barReplace
	case d.isChoosy():
		return barOne
	case d.idle >= patient:
		return 0
	}
	return s.trust()
}

// path is the network between us and the servers, as far as UDP goes.
type path struct {
	silent int            // queries in a row without an answer
	proven mclock.AbsTime // until when an answer proves that it works
	isDead bool
	probe  mclock.AbsTime // when a query was last made over a dead path
}

func (p *path) hear(a Answer, now mclock.AbsTime) {
	if a == Silent {
		p.silent++
		p.isDead = p.silent >= deadPathAfter && now >= p.proven
	} else {
		p.silent, p.isDead = 0, false
		p.proven = now.Add(answerProves)
	}
}

// works tells whether anybody has answered and nothing speaks against it since.
func (p *path) works() bool { return p.proven > 0 && !p.isDead }

// ask tells whether a query makes sense now.
func (p *path) ask(now mclock.AbsTime) bool {
	if !p.isDead {
		return true
	}
	if now.Sub(p.probe) < probePath {
		return false
	}
	p.probe = now
	return true
}

// ownNetwork tells when it is not the others. It counts attempts in a row, queries
// and dials, on which nobody reacted.
type ownNetwork struct{ failed int }

// downAfter is how many of these there are before the own network counts as down.
// More punishes more servers for nothing, less lets go more that are dead.
const downAfter = 12

func (o *ownNetwork) reacted() { o.failed = 0 }
func (o *ownNetwork) nothing() { o.failed++ }

// down tells whether nothing works; a connected server is a proof that something
// does.
func (o *ownNetwork) down(connected int) bool { return o.failed >= downAfter && connected == 0 }

// conductVersion is the version of stored conduct.
const conductVersion = 1

// storedConduct is stored conduct, of kind "u".
type storedConduct struct {
	Version                          uint64
	Answered                         bool
	Silent, No, Kept, Broken, Second uint64
}

var conductKind = ledgerKind[conduct]{
	name: "u",
	encode: func(c conduct) any {
		return &storedConduct{
			conductVersion, c.answered,
			uint64(c.silent), uint64(c.no), uint64(c.kept), uint64(c.broken), uint64(max(c.at, 0)),
		}
	},
	decode: decodeConduct,
	age:    func(c conduct) int64 { return c.at },
}

func decodeConduct(value []byte, _ moment) (c conduct, err error) {
	var enc storedConduct
	if err := rlp.DecodeBytes(value, &enc); err != nil {
		return c, err
	}
	if enc.Version != conductVersion {
		return c, fmt.Errorf("version %d", enc.Version)
	}
	if max(enc.Silent, enc.No, enc.Kept, enc.Broken) > maxConduct || enc.Second > 1<<40 {
		return c, fmt.Errorf("counts %d, %d, %d, %d at %d", enc.Silent, enc.No, enc.Kept, enc.Broken, enc.Second)
	}
	return conduct{
		answered: enc.Answered,
		silent:   uint8(enc.Silent), no: uint8(enc.No), kept: uint8(enc.Kept), broken: uint8(enc.Broken),
		at: int64(enc.Second),
	}, nil
}
