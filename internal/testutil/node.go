package testutil

import (
	"crypto/ecdsa"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
)

// Key returns the i-th of a fixed series of private keys.
func Key(i uint64) *ecdsa.PrivateKey {
	seed := [32]byte{'k'}
	binary.BigEndian.PutUint64(seed[8:], i)
	rnd := rand.NewChaCha8(seed)
	for {
		var buf [32]byte
		rnd.Read(buf[:])
		if key, err := crypto.ToECDSA(buf[:]); err == nil {
			return key
		}
	}
}

// Node returns the i-th of a fixed series of nodes: signed records with
// sequence number seq, the given IPv4 or IPv6 address, port 30303 for both UDP
// and TCP, and the extra entries.
func Node(i, seq uint64, ip string, entries ...enr.Entry) *enode.Node {
	var r enr.Record
	r.SetSeq(seq)
	r.Set(enr.IP(net.ParseIP(ip)))
	r.Set(enr.UDP(30303))
	r.Set(enr.TCP(30303))
	for _, e := range entries {
		r.Set(e)
	}
	if err := enode.SignV4(&r, Key(i)); err != nil {
		panic(err)
	}
	n, err := enode.New(enode.ValidSchemes, &r)
	if err != nil {
		panic(err)
	}
	return n
}

// PublicNode is Node with sequence number 1 and a public address of its own
// /24 network for every i below 2^16.
func PublicNode(i uint64, entries ...enr.Entry) *enode.Node {
	return Node(i, 1, fmt.Sprintf("%d.%d.%d.7", 11+i>>16, i>>8&0xff, i&0xff), entries...)
}

// FakeNode returns the i-th of a fixed series of nodes that have an id and a
// sequence number but neither key nor address; making one is cheap.
func FakeNode(i, seq uint64) *enode.Node {
	var id enode.ID
	binary.BigEndian.PutUint64(id[:], i*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(id[24:], i)
	var r enr.Record
	r.SetSeq(seq)
	return enode.SignNull(&r, id)
}
