package serverpool

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// outcome is what came of a node last, as Status.Outcomes counts it.
type outcome uint8

const (
	outcomeNone outcome = iota // nothing was heard yet
	outcomeAsked
	outcomeFull
	outcomeSilent
	outcomeNotBelieved
	outcomeCandidate
	outcomeUnneeded
	outcomeGiven
	outcomeNotDialed
	outcomeDialed
	outcomeRefused
	outcomeTimedOut
	outcomeConnected
	outcomeLeft
	outcomeBanned
	outcomeNotAccepted
	outcomes // how many there are
)

var outcomeTexts = [outcomes]string{
	outcomeAsked:       "asked",
	outcomeFull:        "full",
	outcomeSilent:      "silent",
	outcomeNotBelieved: "not believed",
	outcomeCandidate:   "candidate",
	outcomeUnneeded:    "not needed in time",
	outcomeGiven:       "given out",
	outcomeNotDialed:   "not dialed",
	outcomeDialed:      "dialed",
	outcomeRefused:     "refused",
	outcomeTimedOut:    "timed out",
	outcomeConnected:   "connected",
	outcomeLeft:        "disconnected",
	outcomeBanned:      "banned",
	outcomeNotAccepted: "not accepted",
}

// String implements fmt.Stringer.
func (o outcome) String() string { return outcomeTexts[o] }

// notes are what was last heard of the nodes seen lately, for people to read;
// nothing is decided by them.
type notes struct {
	*recent[note]
	counts [outcomes]int // how many nodes have each; nobody asks for outcomeNone
}

// note is what was last heard of a node.
type note struct {
	source  string // that brought it last
	detail  string // of the outcome
	answer  Answer // the last one
	outcome outcome
	seen    bool // else it is only known which source has it
	asked   bool // there was an answer
}

// notedNodes is how many nodes there are notes of. Nodes that come back after so
// many others count as new. More costs some 100 bytes each.
const notedNodes = 1 << 14

func newNotes() *notes {
	n := new(notes)
	n.recent = newRecent(notedNodes, func(_ enode.ID, gone note) { n.counts[gone.outcome]-- })
	return n
}

// set notes what came of a node, which makes the note the latest.
func (n *notes) set(id enode.ID, o outcome, detail string) *note {
	m := n.latest(id)
	n.counts[m.outcome]--
	n.counts[o]++
	m.outcome, m.detail = o, detail
	return m
}

// see notes which source has brought a node, unless that is empty, and tells whether
// the node is new.
func (n *notes) see(id enode.ID, source string) (first bool) {
	m := n.latest(id)
	first, m.seen = !m.seen, true
	if source != "" {
		m.source = source
	}
	return first
}

// outcomes returns how many nodes have each outcome.
func (n *notes) outcomes() map[string]int {
	found := make(map[string]int)
	for o, count := range n.counts {
		if o != int(outcomeNone) && count > 0 {
			found[outcomeTexts[o]] = count
		}
	}
	return found
}

// text says what came of a node last and why.
func (m *note) text() string {
	if m.detail == "" {
		return m.outcome.String()
	}
	return fmt.Sprintf("%v: %s", m.outcome, m.detail)
}

// note keeps what came of a node. A detail that comes from outside is cut.
func (p *ServerPool) note(id enode.ID, o outcome, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.notes.set(id, o, shortText(detail))
}

// maxText bounds the texts of others that are kept, in bytes.
const maxText = 200

// shortText returns a text that can be stored and shown.
func shortText(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	for len(s) > maxText {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
