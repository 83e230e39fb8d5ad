package serverpool

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// What came of a node last, as Status.Outcomes counts it.
const (
	outcomeAsked       = "asked"
	outcomeFull        = "full"
	outcomeSilent      = "silent"
	outcomeNotBelieved = "not believed"
	outcomeCandidate   = "candidate"
	outcomeUnneeded    = "not needed in time"
	outcomeGiven       = "given out"
	outcomeNotDialed   = "not dialed"
	outcomeDialed      = "dialed"
	outcomeRefused     = "refused"
	outcomeTimedOut    = "timed out"
	outcomeConnected   = "connected"
	outcomeLeft        = "disconnected"
	outcomeBanned      = "banned"
	outcomeNotAccepted = "not accepted"
)

// notes are what was last heard of the nodes seen lately, for people to read;
// nothing is decided by them.
type notes struct {
	lru      *simplelru.LRU[enode.ID, note]
	outcomes map[string]int // how many nodes have each
}

// note is what was last heard of a node.
type note struct {
	seen    bool   // else it is only known which source has it
	source  string // that brought it last
	outcome string
	detail  string // of the outcome
	answer  Answer // the last one
	asked   bool   // there was one
}

// notedNodes is how many nodes there are notes of. Nodes that come back after so
// many others count as new. More costs some 200 bytes each.
const notedNodes = 1 << 14

func newNotes() *notes {
	n := &notes{outcomes: make(map[string]int)}
	// The size is positive, the only error there is.
	n.lru, _ = simplelru.NewLRU(notedNodes, func(_ enode.ID, gone note) { n.count(gone.outcome, -1) })
	return n
}

func (n *notes) count(outcome string, d int) {
	if outcome == "" {
		return
	}
	if n.outcomes[outcome] += d; n.outcomes[outcome] == 0 {
		delete(n.outcomes, outcome)
	}
}

func (n *notes) get(id enode.ID) note {
	found, _ := n.lru.Peek(id)
	return found
}

// change edits the note of a node, which makes it the latest.
func (n *notes) change(id enode.ID, edit func(*note)) {
	found, _ := n.lru.Get(id)
	n.count(found.outcome, -1)
	edit(&found)
	n.count(found.outcome, +1)
	n.lru.Add(id, found)
}

// see tells whether a node is new, and its source.
func (n *notes) see(id enode.ID) (first bool, source string) {
	n.change(id, func(m *note) {
		first, source = !m.seen, m.source
		m.seen = true
	})
	return first, source
}

func (n *notes) remove(id enode.ID) { n.lru.Remove(id) }

// text says what came of a node last and why.
func (m *note) text() string {
	if m.detail == "" {
		return m.outcome
	}
	return fmt.Sprintf("%s: %s", m.outcome, m.detail)
}

// note keeps what came of a node. A detail that comes from outside is cut.
func (p *ServerPool) note(id enode.ID, outcome, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noteLocked(id, outcome, detail)
}

func (p *ServerPool) noteLocked(id enode.ID, outcome, detail string) {
	p.mu.notes.change(id, func(m *note) { m.outcome, m.detail = outcome, shortText(detail) })
}

// namedSource is a discovery source of the application whose nodes are noted
// with its name.
type namedSource struct {
	enode.Iterator
	pool *ServerPool
	name string
}

// Node implements enode.Iterator. It is called once for each Next.
func (s *namedSource) Node() *enode.Node {
	n := s.Iterator.Node()
	if n == nil {
		return nil
	}
	name := s.name
	if named, ok := s.Iterator.(interface{ NodeSource() string }); ok { // newer go-ethereums name some
		if given := named.NodeSource(); given != "" {
			name = shortText(given)
		}
	}
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.pool.mu.notes.change(n.ID(), func(m *note) { m.source = name })
	return n
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
