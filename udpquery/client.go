package udpquery

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
	lru "github.com/hashicorp/golang-lru/v2"
)

// maxResting is how many goroutines wait for the next question. A new goroutine
// has a small stack, and moving to one that is large enough for the transport
// takes longer than all else that the client does. Larger, more questions at a
// time are spared that, and more memory is kept: some 8 kB each.
const maxResting = 4

// Client asks servers for capacity. Up to four goroutines rest between questions
// until Close. All methods may be called concurrently.
type Client struct {
	transport Transport
	cfg       ClientConfig
	question  []byte        // the encoded batch, the same for every server
	quit      chan struct{} // closed by Close
	next      chan *flight  // for goroutines that rest, one each; closed by Close

	mu struct {
		sync.Mutex
		closed   bool
		dialNode func(*enode.Node) *enode.Node
		onRecord func(*enode.Node)
		flights  map[enode.ID]*flight
		awaited  list[flight, *flight] // flights that did not land yet, oldest first
		alarm    mclock.Timer          // calls timeout; nil if none is set
		resting  int                   // goroutines that wait for a flight to fly
		answers  *lru.Cache[enode.ID, stampedAnswer]
	}
}

type stampedAnswer struct {
	Answer
	at mclock.AbsTime
}

// flight is a question under way. It stays in Client.flights until the transport
// has returned, even if it timed out before: no second call is stacked upon one
// that hangs.
type flight struct {
	node   *enode.Node
	done   chan struct{} // closed when answer is set
	answer Answer

	// guarded by Client.mu
	landed   bool
	deadline mclock.AbsTime
	byAge    links[flight]
}

func (f *flight) links() *links[flight] { return &f.byAge }

// NewClient returns a client over a transport. The error names the field that is
// out of range.
func NewClient(t Transport, cfg ClientConfig) (*Client, error) {
	if t == nil {
		return nil, errors.New("udpquery: Transport is nil")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var batch Requests
	q := CapacityQueryReq{Bias: uint64(max(0, cfg.Bias) / time.Second), AddTokens: make([]IntOrInf, 1)}
	if _, err := batch.Add(cfg.Service, CapacityQueryName, &q); err != nil {
		return nil, err
	}
	c := &Client{transport: t, cfg: cfg, question: batch.Encode(), quit: make(chan struct{}), next: make(chan *flight, maxResting)}
	c.mu.flights = make(map[enode.ID]*flight)
	c.mu.dialNode, c.mu.onRecord = cfg.DialNode, cfg.OnRecord
	c.mu.answers, err = lru.New[enode.ID, stampedAnswer](cfg.CacheSize)
	return c, err
}

// SetHooks replaces the configured DialNode and OnRecord, for a pool that needs
// the client to be made before it. Questions under way may still use the old
// ones.
func (c *Client) SetHooks(dialNode func(*enode.Node) *enode.Node, onRecord func(*enode.Node)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.dialNode, c.mu.onRecord = dialNode, onRecord
}

// Query asks as [Client.Ask] does: 1 is Yes or Unasked, 0 is No, -1 is Silent.
func (c *Client) Query(n *enode.Node) int {
	switch c.Ask(context.Background(), n) {
	case Yes, Unasked:
		return 1
	case No:
		return 0
	}
	return -1
}

// Ask asks the node whether it has a slot for a client without tokens, unless
// its record says that it takes no queries or it was asked just now. It returns
// Silent when the context, the timeout or Close ends the wait; a context that
// ends does not spoil the answer for others who wait for it.
func (c *Client) Ask(ctx context.Context, n *enode.Node) Answer {
	if n == nil || ctx.Err() != nil {
		return Silent
	}
	if n.Seq() > 0 && !TakesQueries(n) {
		return Unasked
	}
	f, answer := c.join(n)
	if f == nil {
		return answer
	}
	select {
	case <-f.done:
		return f.answer
	case <-ctx.Done():
	case <-c.quit:
	}
	return Silent
}

// Send sends a batch to the node and returns the replies: nil if there is no
// answer within the configured timeout, or if the batch is empty, too long or too
// large for a packet. There is no retry.
func (c *Client) Send(n *enode.Node, batch Requests) Replies {
	if n == nil || len(batch) == 0 || len(batch) > MaxRequestLength {
		return nil
	}
	message := batch.Encode()
	if len(message) > maxMessage || c.closed() {
		return nil
	}
	answer := make(chan Replies, 1)
	go func() {
		var replies Replies
		defer func() {
			c.recoverPanic(recover(), n)
			answer <- replies
		}()
		response, err := c.transport.TalkRequest(c.target(n), ProtocolID, message)
		if err != nil || replies.decode(response) != nil {
			replies = nil
		}
	}()
	timer := c.cfg.Clock.NewTimer(c.cfg.Timeout)
	defer timer.Stop()
	select {
	case replies := <-answer:
		return replies
	case <-timer.C():
	case <-c.quit:
	}
	return nil
}

// Close ends all waiting calls at once, and later ones return without asking.
// Of the client's goroutines those are left that are inside a call of the
// transport or of a hook; they end when it returns, without another call.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return
	}
	c.mu.closed = true
	close(c.quit)
	close(c.next)
	if c.mu.alarm != nil {
		c.mu.alarm.Stop()
	}
}

// join returns the question to the node that is under way or is begun hereby, or
// else the answer that is known.
func (c *Client) join(n *enode.Node) (*flight, Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, Silent
	}
	if f := c.mu.flights[n.ID()]; f != nil {
		return f, Silent
	}
	now := c.cfg.Clock.Now()
	known, ok := c.mu.answers.Get(n.ID())
	recorded := known.Answer == Unasked && n.Seq() > 0 // it had no record then
	if ok && !recorded && now.Sub(known.at) < c.cfg.Fresh {
		return nil, known.Answer
	}
	f := &flight{node: n, done: make(chan struct{}), deadline: now.Add(c.cfg.Timeout)}
	c.mu.flights[n.ID()] = f
	c.mu.awaited.push(f)
	if c.mu.alarm == nil {
		c.mu.alarm = c.cfg.Clock.AfterFunc(c.cfg.Timeout, c.timeout)
	}
	if c.mu.resting > 0 {
		c.mu.resting--
		c.next <- f // there is room: one rests who takes it
	} else {
		go c.flights(f)
	}
	return f, Silent
}

// flights flies the flight, and then others as long as few goroutines rest.
func (c *Client) flights(f *flight) {
	for ok := true; ok; f, ok = <-c.next {
		c.fly(f)
		if !c.rest() {
			return
		}
	}
}

// rest tells whether a goroutine that has landed should wait for another flight.
func (c *Client) rest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed || c.mu.resting == maxResting {
		return false
	}
	c.mu.resting++
	return true
}

// fly asks and lands the flight, whatever the transport and the hooks do.
func (c *Client) fly(f *flight) {
	answer := Silent
	defer func() {
		c.recoverPanic(recover(), f.node)
		c.land(f, answer)
	}()
	answer = c.ask(f)
}

func (c *Client) land(f *flight, answer Answer) {
	c.mu.Lock()
	delete(c.mu.flights, f.node.ID())
	first := c.landLocked(f, answer)
	c.mu.Unlock()
	if first {
		close(f.done) // last, as those who wait go on at once
	}
}

// timeout lands the flights that took too long, and sets the alarm for the next.
// An alarm that finds nothing to do costs less than one per flight.
func (c *Client) timeout() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Clock.Now()
	f := c.mu.awaited.first
	for ; f != nil && f.deadline <= now; f = c.mu.awaited.first {
		c.landLocked(f, Silent)
		close(f.done)
	}
	c.mu.alarm = nil
	if f != nil && !c.mu.closed {
		c.mu.alarm = c.cfg.Clock.AfterFunc(f.deadline.Sub(now), c.timeout)
	}
}

// landLocked sets and remembers the answer. It returns true the first time; the
// caller then closes done. A real answer that comes after the timeout is
// remembered for the next one who asks.
func (c *Client) landLocked(f *flight, answer Answer) (first bool) {
	first = !f.landed
	if first {
		f.landed, f.answer = true, answer
		c.mu.awaited.remove(f)
	}
	if first || answer != Silent {
		c.mu.answers.Add(f.node.ID(), stampedAnswer{answer, c.cfg.Clock.Now()})
	}
	return first
}

// ask runs on the flight's goroutine.
func (c *Client) ask(f *flight) Answer {
	n := f.node
	if n.Seq() == 0 {
		if n = c.record(f); !TakesQueries(n) {
			return Unasked
		}
	}
	for range c.cfg.Attempts {
		if !c.isAwaited(f) {
			break
		}
		response, err := c.transport.TalkRequest(c.target(n), ProtocolID, c.question)
		if err == nil {
			return answerIn(response)
		}
	}
	return Silent
}

// answerIn reads the answer to the one question of a batch.
func answerIn(response []byte) Answer {
	var replies Replies
	var capacities CapacityQueryReply
	if replies.decode(response) != nil || replies.Get(0, &capacities) != nil || len(capacities) != 1 {
		return Silent
	}
	if capacities[0] == 0 {
		return No
	}
	return Yes
}

// record asks the node for its record; nil if there is none to be had.
func (c *Client) record(f *flight) *enode.Node {
	requester, ok := c.transport.(RecordRequester)
	if !ok {
		return nil
	}
	for range c.cfg.Attempts {
		if !c.isAwaited(f) {
			break
		}
		record, err := requester.RequestENR(c.target(f.node))
		if err != nil {
			continue
		}
		if record == nil || record.ID() != f.node.ID() || record.Seq() == 0 {
			break
		}
		c.tell(record)
		return record
	}
	return nil
}

func (c *Client) tell(record *enode.Node) {
	c.mu.Lock()
	onRecord := c.mu.onRecord
	if c.mu.closed {
		onRecord = nil
	}
	c.mu.Unlock()
	if onRecord != nil {
		onRecord(record)
	}
}

func (c *Client) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.closed
}

func (c *Client) isAwaited(f *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !f.landed && !c.mu.closed
}

// target is the node at the address where it is to be reached.
func (c *Client) target(n *enode.Node) *enode.Node {
	c.mu.Lock()
	dialNode := c.mu.dialNode
	c.mu.Unlock()
	if dialNode != nil {
		if at := dialNode(n); at != nil {
			return at
		}
	}
	return n
}

func (c *Client) recoverPanic(reason any, n *enode.Node) {
	if reason != nil {
		log.Error("UDP query panicked", "node", n.ID(), "reason", reason)
	}
}
