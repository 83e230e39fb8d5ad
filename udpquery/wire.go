package udpquery

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ethereum/go-ethereum/rlp"
)

const (
	// ProtocolID is the discv5 TALKREQ protocol that carries the queries.
	ProtocolID = "vfx"

	// MaxRequestLength is the most requests that a batch may have. Deployed
	// servers refuse a longer one as a whole.
	MaxRequestLength = 16

	// CapacityQueryName is the name of the capacity query.
	CapacityQueryName = "cq"

	// CapacityQueryMaxLen is the most token amounts that a capacity query may
	// have.
	CapacityQueryMaxLen = 16

	// DefaultService is the service that light servers answer for.
	DefaultService = "les"

	// maxMessage is the size in bytes that a message of ours never exceeds. A
	// discv5 packet has room for about 1,170; were this larger, the biggest
	// messages would be lost on the way without a trace.
	maxMessage = 1150
)

var (
	// ErrNoReply is returned by [Replies.Get] for a request that has no place in
	// the replies, as when the batch was not answered at all.
	ErrNoReply = errors.New("udpquery: no reply for given request")

	// ErrTooMany is returned when a batch has more than [MaxRequestLength]
	// requests or a query more than [CapacityQueryMaxLen] amounts.
	ErrTooMany = errors.New("udpquery: too many list elements")

	errFields   = errors.New("udpquery: wrong number of list elements")
	errTooLarge = errors.New("udpquery: integer too large")
)

// Request is one request of a batch. Params holds the RLP of its parameters.
type Request struct {
	Service, Name string
	Params        []byte
}

// Requests is a batch of requests as it travels in one TALKREQ.
type Requests []Request

// Replies holds one reply for each request of a batch, in order. An empty
// element is no reply to that request; a nil Replies is no answer at all.
type Replies [][]byte

// CapacityQueryReq asks a server which capacity the asking client would get.
type CapacityQueryReq struct {
	Bias      uint64     // seconds by which a newcomer has to beat those connected
	AddTokens []IntOrInf // for each, the tokens to be added before; up to CapacityQueryMaxLen
}

// CapacityQueryReply holds the capacity for each amount asked about; 0 is none.
type CapacityQueryReply []uint64

// Add appends a request whose parameters are the RLP of val, and returns its
// index. It returns -1 and an error, and appends nothing, if val cannot be
// encoded or the batch is full ([ErrTooMany]).
func (r *Requests) Add(service, name string, val interface{}) (int, error) {
	if len(*r) >= MaxRequestLength {
		return -1, ErrTooMany
	}
	params, err := encodeParams(val)
	if err != nil {
		return -1, err
	}
	*r = append(*r, Request{service, name, params})
	return len(*r) - 1, nil
}

func encodeParams(val interface{}) ([]byte, error) {
	switch v := val.(type) {
	case *CapacityQueryReq:
		if v != nil {
			return v.Encode()
		}
	case CapacityQueryReq:
		return v.Encode()
	}
	return rlp.EncodeToBytes(val)
}

// Get decodes the i-th reply into val, a pointer. It returns [ErrNoReply] if
// there is no i-th element, io.EOF if that is empty, and an RLP error if it does
// not decode as a *val.
func (r Replies) Get(i int, val interface{}) error {
	if i < 0 || i >= len(r) {
		return ErrNoReply
	}
	if len(r[i]) == 0 {
		return io.EOF
	}
	if v, ok := val.(*CapacityQueryReply); ok && v != nil {
		return v.Decode(r[i])
	}
	return rlp.DecodeBytes(r[i], val)
}

// Encode returns the RLP of the batch, the same bytes as package rlp gives.
func (r Requests) Encode() []byte {
	payload := 0
	for i := range r {
		size := r[i].contentSize()
		payload += headSize(size) + size
	}
	b := appendHead(make([]byte, 0, headSize(payload)+payload), listTag, payload)
	for i := range r {
		b = appendHead(b, listTag, r[i].contentSize())
		b = appendString(b, r[i].Service)
		b = appendString(b, r[i].Name)
		b = appendString(b, r[i].Params)
	}
	return b
}

func (r *Request) contentSize() int {
	return stringSize(r.Service) + stringSize(r.Name) + stringSize(r.Params)
}

// Decode replaces the batch by the one that data holds, of at most
// [MaxRequestLength] requests. It accepts what package rlp accepts, keeps no
// part of data, and leaves the batch alone if it returns an error.
func (r *Requests) Decode(data []byte) error {
	content, n, err := splitWholeList(bytes.Clone(data), MaxRequestLength)
	if err != nil {
		return err
	}
	batch := make(Requests, n)
	for i := range batch {
		if content, err = batch[i].decode(content); err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
	}
	*r = batch
	return nil
}

func (r *Request) decode(data []byte) (rest []byte, err error) {
	fields, rest, err := rlp.SplitList(data)
	for i := 0; i < 3 && err == nil; i++ {
		if len(fields) == 0 {
			return nil, errFields
		}
		var field []byte
		field, fields, err = rlp.SplitString(fields)
		switch i {
		case 0:
			r.Service = intern(field)
		case 1:
			r.Name = intern(field)
		case 2:
			r.Params = field[:len(field):len(field)]
		}
	}
	if err == nil && len(fields) > 0 {
		err = errFields
	}
	return rest, err
}

// intern saves the allocation of the strings that nearly every request has.
func intern(b []byte) string {
	switch string(b) {
	case DefaultService:
		return DefaultService
	case CapacityQueryName:
		return CapacityQueryName
	}
	return string(b)
}

// Encode returns the RLP of the replies, the same bytes as package rlp gives.
func (r Replies) Encode() []byte {
	payload := 0
	for _, reply := range r {
		payload += stringSize(reply)
	}
	b := appendHead(make([]byte, 0, headSize(payload)+payload), listTag, payload)
	for _, reply := range r {
		b = appendString(b, reply)
	}
	return b
}

// Decode replaces the replies by those that data holds, at most
// [MaxRequestLength]. It accepts what package rlp accepts, keeps no part of data,
// and leaves the replies alone if it returns an error.
func (r *Replies) Decode(data []byte) error {
	return r.decode(bytes.Clone(data))
}

// decode is Decode without copying data.
func (r *Replies) decode(data []byte) error {
	content, n, err := splitWholeList(data, MaxRequestLength)
	if err != nil {
		return err
	}
	replies := make(Replies, n)
	for i := range replies {
		reply, rest, err := rlp.SplitString(content)
		if err != nil {
			return fmt.Errorf("reply %d: %w", i, err)
		}
		replies[i], content = reply[:len(reply):len(reply)], rest
	}
	*r = replies
	return nil
}

// fit empties those elements that would make the encoded replies longer than
// maxMessage, in order, and returns how many. An element after an emptied one
// still goes out if there is room for it.
func (r Replies) fit() (emptied int) {
	room := maxMessage - headSize(maxMessage) - len(r) // an empty element takes one byte
	for i, reply := range r {
		if more := stringSize(reply) - 1; more <= room {
			room -= more
		} else {
			r[i] = nil
			emptied++
		}
	}
	return emptied
}

// Encode returns the RLP of the query, the same bytes as package rlp gives. It
// fails if a Value is negative.
func (q *CapacityQueryReq) Encode() ([]byte, error) {
	amounts := 0
	for i := range q.AddTokens {
		if q.AddTokens[i].Value.Sign() < 0 {
			return nil, fmt.Errorf("udpquery: amount %d: negative Value", i)
		}
		size := q.AddTokens[i].contentSize()
		amounts += headSize(size) + size
	}
	payload := rlp.IntSize(q.Bias) + headSize(amounts) + amounts
	b := appendHead(make([]byte, 0, headSize(payload)+payload), listTag, payload)
	b = rlp.AppendUint64(b, q.Bias)
	b = appendHead(b, listTag, amounts)
	for i := range q.AddTokens {
		b = q.AddTokens[i].append(b)
	}
	return b, nil
}

// Decode replaces the query by the one that data holds, of at most
// [CapacityQueryMaxLen] amounts. It accepts what package rlp accepts and leaves
// the query alone if it returns an error.
func (q *CapacityQueryReq) Decode(data []byte) error {
	fields, n, err := splitWholeList(data, 2)
	if err != nil {
		return err
	}
	if n != 2 {
		return errFields
	}
	bias, fields, err := rlp.SplitUint64(fields)
	if err != nil {
		return fmt.Errorf("bias: %w", err)
	}
	content, n, err := splitWholeList(fields, CapacityQueryMaxLen)
	if err != nil {
		return fmt.Errorf("amounts: %w", err)
	}
	amounts := make([]IntOrInf, n)
	for i := range amounts {
		if content, err = amounts[i].decode(content); err != nil {
			return fmt.Errorf("amount %d: %w", i, err)
		}
	}
	q.Bias, q.AddTokens = bias, amounts
	return nil
}

// Encode returns the RLP of the reply, the same bytes as package rlp gives.
func (r CapacityQueryReply) Encode() []byte {
	payload := 0
	for _, capacity := range r {
		payload += rlp.IntSize(capacity)
	}
	b := appendHead(make([]byte, 0, headSize(payload)+payload), listTag, payload)
	for _, capacity := range r {
		b = rlp.AppendUint64(b, capacity)
	}
	return b
}

// Decode replaces the reply by the one that data holds, of at most
// [CapacityQueryMaxLen] numbers. It accepts what package rlp accepts and leaves
// the reply alone if it returns an error.
func (r *CapacityQueryReply) Decode(data []byte) error {
	content, n, err := splitWholeList(data, CapacityQueryMaxLen)
	if err != nil {
		return err
	}
	reply := make(CapacityQueryReply, n)
	for i := range reply {
		if reply[i], content, err = rlp.SplitUint64(content); err != nil {
			return fmt.Errorf("number %d: %w", i, err)
		}
	}
	*r = reply
	return nil
}

// splitWholeList returns the content of the list that all of data is, and the
// number of its elements, at most limit.
func splitWholeList(data []byte, limit int) (content []byte, n int, err error) {
	content, rest, err := rlp.SplitList(data)
	if err != nil {
		return nil, 0, err
	}
	if len(rest) > 0 {
		return nil, 0, rlp.ErrMoreThanOneValue
	}
	if n, err = rlp.CountValues(content); err != nil {
		return nil, 0, err
	}
	if n > limit {
		return nil, 0, ErrTooMany
	}
	return content, n, nil
}

// First bytes of the two kinds of RLP items; a length of up to 55 is added.
const (
	stringTag = 0x80
	listTag   = 0xc0
)

// headSize is the size of the head of a string or list with that much content.
func headSize(content int) int {
	if content < 56 {
		return 1
	}
	size := 1
	for ; content > 0; content >>= 8 {
		size++
	}
	return size
}

func appendHead(b []byte, tag byte, content int) []byte {
	if content < 56 {
		return append(b, tag+byte(content))
	}
	size := headSize(content) - 1
	b = append(b, tag+55+byte(size))
	for shift := 8 * (size - 1); shift >= 0; shift -= 8 {
		b = append(b, byte(content>>shift))
	}
	return b
}

func stringSize[S string | []byte](s S) int {
	if len(s) == 1 && s[0] < stringTag {
		return 1
	}
	return headSize(len(s)) + len(s)
}

func appendString[S string | []byte](b []byte, s S) []byte {
	if len(s) == 1 && s[0] < stringTag {
		return append(b, s[0])
	}
	return append(appendHead(b, stringTag, len(s)), s...)
}
