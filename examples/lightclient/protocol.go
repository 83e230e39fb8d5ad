package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/rlp"
)

// The protocol of the example, lightdemo/1. The client begins with its status;
// the server answers with its own when it has a slot for the client, and closes
// the connection with p2p.DiscTooManyPeers when it has none. Then the client
// sends requests, any number at a time, and the server answers them in any
// order, or not.
const (
	protocolName    = "lightdemo"
	protocolVersion = 1

	statusMsg      = 0x00
	requestMsg     = 0x01
	answerMsg      = 0x02
	protocolLength = 3

	// handshakeTimeout is how long either side waits for the other's status.
	// Slower servers are reached when it grows, and a peer that says nothing
	// holds a connection for longer.
	handshakeTimeout = 3 * time.Second
	// maxMessage is what either side accepts, in bytes: more than the largest
	// answer. It bounds what one message makes the receiver allocate.
	maxMessage = 512 << 10
	// maxAmount is the highest number of items in a request.
	maxAmount = 64
)

var (
	errRefused     = errors.New("the server has no slot for us")
	errNoStatus    = errors.New("no status in time")
	errWrongAnswer = errors.New("the answer does not match its checksum")
	errClosed      = errors.New("the session is over")
)

// requestType is something that a client can ask for.
type requestType struct {
	Name string
	Cost uint64  // of one item in cost units, before the server's own price
	Size int     // of one item in bytes
	Work float64 // in server latencies: what an item adds to the answer's time
}

// requestTypes are the requests of the protocol; their index is the type on the
// wire.
var requestTypes = []requestType{
	{Name: "header", Cost: 1_000, Size: 512, Work: 0.01},
	{Name: "proof", Cost: 5_000, Size: 2048, Work: 0.05},
	{Name: "block", Cost: 20_000, Size: 4096, Work: 0.1},
}

// status opens a session. Items that a later version appends are ignored.
type status struct {
	Version  uint64
	Capacity uint64         // granted to the client, in cost units per second; the client sends 0
	Costs    []uint64       // of one item, by request type; the client sends none
	Rest     []rlp.RawValue `rlp:"tail"`
}

type request struct {
	ID     uint64
	Type   uint64
	Amount uint64
}

type answer struct {
	ID   uint64
	Data []byte
	Sum  uint32
}

// valid tells whether the request is one that a server answers.
func (r request) valid() bool {
	return r.Type < uint64(len(requestTypes)) && r.Amount > 0 && r.Amount <= maxAmount
}

// size returns the number of bytes in a right answer to a valid request.
func (r request) size() int { return requestTypes[r.Type].Size * int(r.Amount) }

// sum is the checksum of an answer's data; it covers the request, so that the
// answer to another one is recognized.
func (r request) sum(data []byte) uint32 {
	var head [24]byte
	binary.BigEndian.PutUint64(head[:], r.ID)
	binary.BigEndian.PutUint64(head[8:], r.Type)
	binary.BigEndian.PutUint64(head[16:], r.Amount)
	return crc32.Update(crc32.ChecksumIEEE(head[:]), crc32.IEEETable, data)
}

// answeredBy tells whether a is a right answer.
func (r request) answeredBy(a answer) bool {
	return len(a.Data) == r.size() && a.Sum == r.sum(a.Data)
}

// session is the client's end of a connection to a server that granted a slot.
// Its methods may be called concurrently.
type session struct {
	rw     p2p.MsgReadWriter
	server status
	over   chan struct{} // closed when serve returns

	mu struct {
		sync.Mutex
		lastID  uint64
		waiting map[uint64]chan<- answer // by request id; each takes one answer
	}
}

// handshake asks the server for a slot. The error is errRefused when the server
// closed the connection instead of granting one. When it took too long, a
// goroutine still reads from rw until the connection is closed, as p2p does
// when the protocol's Run returns.
func handshake(rw p2p.MsgReadWriter) (*session, error) {
	s := &session{rw: rw, over: make(chan struct{})}
	s.mu.waiting = make(map[uint64]chan<- answer)
	var server status
	err := within(handshakeTimeout, func() error {
		if err := p2p.Send(rw, statusMsg, &status{Version: protocolVersion}); err != nil {
			return fmt.Errorf("%w (%v)", errRefused, err)
		}
		msg, err := rw.ReadMsg()
		if err != nil {
			return fmt.Errorf("%w (%v)", errRefused, err)
		}
		return decode(msg, statusMsg, &server)
	})
	if err != nil {
		return nil, err
	}
	if server.Version != protocolVersion || len(server.Costs) != len(requestTypes) {
		return nil, p2p.DiscIncompatibleVersion
	}
	s.server = server
	return s, nil
}

// serve hands the answers that arrive to those who wait for them. It returns
// when the connection ends or the server breaks the protocol; requests that
// wait then get errClosed. It must be called once.
func (s *session) serve() error {
	defer close(s.over)
	for {
		msg, err := s.rw.ReadMsg()
		if err != nil {
			return err
		}
		var a answer
		if err := decode(msg, answerMsg, &a); err != nil {
			return err
		}
		s.mu.Lock()
		if ch := s.mu.waiting[a.ID]; ch != nil {
			delete(s.mu.waiting, a.ID)
			ch <- a
		}
		s.mu.Unlock()
	}
}

// request asks for items and waits for them. It returns the time from the
// request to its answer, also when the answer is wrong (errWrongAnswer). It
// ends early with the context's error, or with errClosed. The answer to a
// request that was given up is ignored.
func (s *session) request(ctx context.Context, kind, amount int) (time.Duration, error) {
	ch := make(chan answer, 1)
	s.mu.Lock()
	s.mu.lastID++
	req := request{ID: s.mu.lastID, Type: uint64(kind), Amount: uint64(amount)}
	s.mu.waiting[req.ID] = ch
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.mu.waiting, req.ID)
		s.mu.Unlock()
	}()
	if !req.valid() {
		return 0, fmt.Errorf("cannot ask for %d items of type %d", amount, kind)
	}

	start := time.Now()
	if err := p2p.Send(s.rw, requestMsg, &req); err != nil {
		return 0, fmt.Errorf("%w (%v)", errClosed, err)
	}
	select {
	case a := <-ch:
		if !req.answeredBy(a) {
			return time.Since(start), errWrongAnswer
		}
		return time.Since(start), nil
	case <-ctx.Done():
		return time.Since(start), ctx.Err()
	case <-s.over:
		return time.Since(start), errClosed
	}
}

// decode reads a message that must have the given code.
func decode(msg p2p.Msg, code uint64, into any) error {
	if msg.Code != code || msg.Size > maxMessage {
		_ = msg.Discard()
		return fmt.Errorf("%w: message %d of %d bytes instead of message %d",
			p2p.DiscProtocolError, msg.Code, msg.Size, code)
	}
	if err := msg.Decode(into); err != nil {
		return fmt.Errorf("%w: %v", p2p.DiscProtocolError, err)
	}
	return nil
}

// within returns what f returns, or errNoStatus when f takes longer than d; f
// then goes on in the background.
func within(d time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errNoStatus
	}
}
