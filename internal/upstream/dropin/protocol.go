package main

import (
	"fmt"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
)

// The protocol of the two: the server says what it charges and how much it grants,
// then answers requests one by one.
const (
	protocolName    = "dropin"
	protocolVersion = 1
	protocolLength  = 3
)

const (
	statusMsg = iota
	requestMsg
	replyMsg
)

type status struct {
	Capacity uint64
	Costs    []uint64 // of one request, by type
}

type request struct {
	ID           uint64
	Type, Amount uint32
}

type reply struct{ ID uint64 }

// requestList are the types of request with what is assumed of them.
var requestList = []requestInfo{
	{Name: "headers", InitAmount: 10, InitValue: 100},
	{Name: "proofs", InitAmount: 1, InitValue: 1000},
}

// requestCosts is what the server charges for them.
var requestCosts = []uint64{100, 1000}

// lesEntry tells in a server's record that it answers queries by UDP.
type lesEntry struct {
	Version uint
	Rest    []rlp.RawValue `rlp:"tail"`
}

// ENRKey implements enr.Entry.
func (lesEntry) ENRKey() string { return "les" }

var _ enr.Entry = lesEntry{}

// receive reads a message of one kind.
func receive(rw p2p.MsgReader, code uint64, message any) error {
	msg, err := rw.ReadMsg()
	if err != nil {
		return err
	}
	if msg.Code != code {
		return fmt.Errorf("message %d instead of %d", msg.Code, code)
	}
	return msg.Decode(message)
}
