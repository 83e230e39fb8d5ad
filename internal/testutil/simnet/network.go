package simnet

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
)

// Network is a population of servers and dead records. Nodes are numbered: the
// servers from 0, then the dead records. Its methods are safe for concurrent
// use; what clients do in it is guarded by their mutex, so there may be one
// client at a time.
type Network struct {
	cfg     Config
	clock   mclock.Clock
	born    mclock.AbsTime
	total   int
	kinds   []uint8 // class and traits of each server
	rtts    []time.Duration
	servers map[int]*server // those that somebody has looked at
}

// Traits of servers, above the class in kinds.
const (
	classMask = 0x0f
	isLiar    = 0x10
	isMute    = 0x20
	isSybil   = 0x40
)

// New returns a network that begins now.
func New(config Config, clock mclock.Clock) (*Network, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	config.Classes = slices.Clone(config.Classes)
	n := &Network{
		cfg:     config,
		clock:   clock,
		born:    clock.Now(),
		total:   int(float64(config.Servers) / (1 - config.Dead)),
		kinds:   make([]uint8, config.Servers),
		servers: make(map[int]*server),
	}
	rtt := data().rtt
	n.rtts = rtt[config.generator(-1, forPlace, 0).IntN(len(rtt))]
	n.populate()
	return n, nil
}

// populate decides what each server is. The numbers are exact, the order is
// random.
func (n *Network) populate() {
	cfg := &n.cfg
	rnd := cfg.generator(-1, forClasses, 0)
	sybils := int(cfg.Sybils*float64(cfg.Servers) + 0.5)
	honest := cfg.Servers - sybils
	for i := range honest {
		n.kinds[i] = uint8(classAt(cfg.Classes, (float64(i)+0.5)/float64(honest)))
	}
	for i := honest; i < cfg.Servers; i++ {
		n.kinds[i] = isSybil | uint8(len(cfg.Classes)-1)
	}
	mark(n.kinds[:honest], cfg.Liars, isLiar, rnd)
	mark(n.kinds[:honest], cfg.Mute, isMute, rnd)
	rnd.Shuffle(len(n.kinds), func(i, j int) { n.kinds[i], n.kinds[j] = n.kinds[j], n.kinds[i] })
}

// classAt returns the class at a place between 0 and 1 if all servers stood in
// the order of their classes.
func classAt(classes []Class, place float64) int {
	for i, class := range classes {
		if place -= class.Share; place < 0 {
			return i
		}
	}
	return len(classes) - 1
}

// mark gives a trait to a share of the servers.
func mark(kinds []uint8, share float64, trait uint8, rnd *rand.Rand) {
	count := int(share*float64(len(kinds)) + 0.5)
	for _, i := range rnd.Perm(len(kinds))[:count] {
		kinds[i] |= trait
	}
}

// now returns the time since the network began.
func (n *Network) now() time.Duration { return n.clock.Now().Sub(n.born) }

// server returns a server or dead record by number.
func (n *Network) server(i int) *server {
	if s := n.servers[i]; s != nil {
		return s
	}
	s := &server{cfg: &n.cfg, index: i, dead: i >= n.cfg.Servers}
	if !s.dead {
		kind := n.kinds[i]
		s.class = int(kind & classMask)
		s.liar, s.mute, s.sybil = kind&isLiar != 0, kind&isMute != 0, kind&isSybil != 0
	}
	s.settle(n.rtts)
	n.servers[i] = s
	return s
}

// Len returns how many nodes discovery may bring.
func (n *Network) Len() int { return n.total }

// Servers returns how many of these are servers.
func (n *Network) Servers() int { return n.cfg.Servers }

// Class returns the class of a server, as index of Config.Classes, and whether
// it is a sybil.
func (n *Network) Class(i int) (class int, sybil bool) {
	return int(n.kinds[i] & classMask), n.kinds[i]&isSybil != 0
}

// Node returns the record of a node. Its signature is of the scheme "null",
// since a signature of each would take longer than many a simulation.
func (n *Network) Node(i int) *enode.Node {
	var id enode.ID
	binary.BigEndian.PutUint64(id[:], mix(mix(n.cfg.Seed)^uint64(i)))
	binary.BigEndian.PutUint64(id[24:], uint64(i))
	var r enr.Record
	r.SetSeq(1)
	r.Set(enr.IPv4(n.address(i)))
	r.Set(enr.UDP(30303))
	r.Set(enr.TCP(30303 + i%7))
	r.Set(enr.WithEntry("les", []uint{1}))
	return enode.SignNull(&r, id)
}

// Index returns the number of a node.
func (n *Network) Index(id enode.ID) int { return int(binary.BigEndian.Uint64(id[24:])) }

// address returns the address of a node: crowded ones come from one network,
// the next ones from the real lists, the others are made up.
func (n *Network) address(i int) net.IP {
	if i < n.cfg.Crowd {
		return net.IP{90, 77, 7, byte(i + 1)}
	}
	if real := data().addresses; i-n.cfg.Crowd < len(real) {
		return real[i-n.cfg.Crowd]
	}
	// Public networks from 20.0.0.0/8 to 83.0.0.0/8: a shift by an odd number
	// spreads the nodes without meeting a network twice.
	k := uint32(i) * 0x9e3779b1
	return net.IP{20 + byte(k>>16)&0x3f, byte(k >> 8), byte(k), byte(1 + k>>22%250)}
}
