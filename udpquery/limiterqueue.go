package udpquery

import (
	"math"
	"math/rand/v2"
	"net/netip"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/lespool/lespool/internal/wrs"
)

const (
	// maxWeight is the weight of a peer whose next batch costs 1, and the cost
	// from which on a higher one makes no difference. Larger, longer penalties
	// are told apart.
	maxWeight = 1e9

	// valueBits is the size of the largest value weight. Larger, more is left of
	// the differences between values much below the highest; 2,000 weights have
	// to fit in the 63 bits of their sum.
	valueBits = 40
)

// ticket is one batch on its way through the limiter.
type ticket struct {
	id    enode.ID
	group groupKey
	value float64 // of the node at this time
	cost  uint64  // at least 1, at most MaxRequestLength

	batch    Requests
	from     origin
	answer   chan Replies // has room for the one answer, nil if dropped
	answered bool

	peer     *peer // set by add, and the rest with it
	alone    peer  // is the peer if nobody else is there
	deadline mclock.AbsTime
	seq      uint64
	behind   *ticket // the next one of the same peer
	byAge    links[ticket]
}

func newTicket() *ticket { return &ticket{answer: make(chan Replies, 1)} }

// valid tells whether the batch has a length that is served.
func (t *ticket) valid() bool {
	return len(t.batch) > 0 && len(t.batch) <= MaxRequestLength
}

func (t *ticket) links() *links[ticket] { return &t.byAge }

// peer is a node with its queue.
type peer struct {
	id    enode.ID
	group *group // nil while nothing is queued and no penalty is open
	value float64

	head, tail  *ticket // the queue, oldest first
	queued      uint64  // cost of the queue
	inService   uint64  // cost of the ticket in service
	penalty     uint64  // above 0 while penalized; the queue is empty then
	flatWeight  uint64  // in the group
	valueWeight uint64

	place     int // in limiter.waiting
	byPenalty links[peer]
}

func (p *peer) links() *links[peer] { return &p.byPenalty }

func (p *peer) push(t *ticket) {
	if p.head == nil {
		p.head = t
	} else {
		p.tail.behind = t
	}
	p.tail = t
	p.queued += t.cost
}

func (p *peer) pop() *ticket {
	t := p.head
	if p.head = t.behind; p.head == nil {
		p.tail = nil
	}
	t.behind = nil
	p.queued -= t.cost
	return t
}

// groupKey is what is one network address to the limiter; see [origin.group].
type groupKey struct {
	prefix netip.Prefix
	text   string
}

// group is the peers of one address. Most have one, which takes no selector.
type group struct {
	key   groupKey
	size  int
	sum   uint64             // of the flat weights
	only  *peer              // while peers is nil
	peers *wrs.Select[*peer] // from the second peer on
}

// weight is the mean weight of the peers: an address gains nothing by having
// many.
func (g *group) weight() uint64 {
	if g.size == 0 {
		return 0
	}
	return g.sum / uint64(g.size)
}

func (g *group) choose() *peer {
	if g.peers == nil {
		return g.only
	}
	p, _ := g.peers.Choose()
	return p
}

// add takes a peer in. It counts for nothing until setWeight.
func (g *group) add(p *peer, rnd *rand.Rand) {
	p.group, p.flatWeight = g, 0
	g.size++
	if g.size == 1 && g.peers == nil {
		g.only = p
	} else if g.peers == nil {
		g.peers = wrs.New(rnd, func(p *peer) uint64 { return p.flatWeight })
		g.peers.Update(g.only)
		g.only = nil
	}
}

func (g *group) remove(p *peer) {
	g.setWeight(p, 0)
	g.size--
	if g.only == p {
		g.only = nil
	}
	p.group = nil
}

func (g *group) setWeight(p *peer, w uint64) {
	if w == p.flatWeight {
		return
	}
	g.sum += w - p.flatWeight
	p.flatWeight = w
	if g.peers != nil {
		g.peers.Update(p)
	}
}

// sanitizeValue makes a finite value of at least 0 of any float.
func sanitizeValue(value float64) float64 {
	if !(value > 0) {
		return 0
	}
	return min(value, math.MaxFloat64/(4*maxQueued)) // sums stay finite
}

// noExponent is less than any exponent of a value.
const noExponent = -1 << 16

// exponent is the binary exponent of a value, noExponent if it is 0.
func exponent(value float64) int {
	if value == 0 {
		return noExponent
	}
	_, e := math.Frexp(value)
	return e
}

// valueWeight is in proportion to value per cost, and largest where the
// exponent of the value is top. No positive value weighs nothing.
func valueWeight(value float64, cost uint64, top int) uint64 {
	if value == 0 {
		return 0
	}
	w := math.Ldexp(value, valueBits-top) / float64(cost)
	return max(1, uint64(min(w, 1<<valueBits)))
}

// links are the neighbours of an element of a list.
type links[T any] struct{ prev, next *T }

// list is a queue that elements can leave from the middle. The zero value is
// empty; an element can be in one list of its type at a time.
type list[T any, P interface {
	*T
	links() *links[T]
}] struct {
	first, last *T
	size        int
}

func (l *list[T, P]) push(e *T) {
	P(e).links().prev = l.last
	if l.last == nil {
		l.first = e
	} else {
		P(l.last).links().next = e
	}
	l.last = e
	l.size++
}

// remove does nothing if the element is not in the list.
func (l *list[T, P]) remove(e *T) {
	at := P(e).links()
	if at.prev == nil && l.first != e {
		return
	}
	if at.prev == nil {
		l.first = at.next
	} else {
		P(at.prev).links().next = at.next
	}
	if at.next == nil {
		l.last = at.prev
	} else {
		P(at.next).links().prev = at.prev
	}
	*at = links[T]{}
	l.size--
}
