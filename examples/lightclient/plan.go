package main

import (
	"crypto/ecdsa"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
)

// networkConfig says what network to start.
type networkConfig struct {
	// Servers is the number of light servers that run, 2 to 200; default 30.
	// A few more that have gone are listed in the DNS tree.
	Servers int
	// Full is the share of servers without a free slot, 0 to 1.
	Full float64
	// Seed decides everything else: identities, addresses, temperaments. The
	// same seed gives the same servers at the same addresses in every run.
	Seed uint64
}

const (
	defaultServers = 30
	maxServers     = 200
	// addressesPerSeed leaves room for the servers that have gone.
	addressesPerSeed = 250
	// serverPort is everybody's port where each server has an address of its
	// own. firstPort is where the ports begin when 127.0.0.1 is the only
	// loopback address; from there up to the ports that systems hand out there
	// is room for the servers of portBlocks seeds.
	serverPort = 30303
	firstPort  = 10000
	portBlocks = 80

	// Of ten servers, one has an entry in its record that promises answers by
	// UDP and gives none, one has no such entry, and one more has gone.
	rareShare = 0.1
	// liarShare is the share of liars among full servers.
	liarShare = 0.15
	// dnsShare is the share of servers that the DNS tree lists; the others are
	// found by discovery only.
	dnsShare = 0.6
)

func (c networkConfig) withDefaults() (networkConfig, error) {
	if c.Servers == 0 {
		c.Servers = defaultServers
	}
	if c.Servers < 2 || c.Servers > maxServers {
		return c, fmt.Errorf("networkConfig.Servers is %d, must be 2 to %d", c.Servers, maxServers)
	}
	if !(c.Full >= 0 && c.Full <= 1) {
		return c, errors.New("networkConfig.Full must be between 0 and 1")
	}
	return c, nil
}

// admission is what happens to a client that connects.
type admission int

const (
	free admission = iota // there are slots
	full                  // others hold all slots: 0 by UDP, a refusal by TCP
	liar                  // like full, but says yes by UDP
	gone                  // does not run; its record is still in the DNS tree
)

func (a admission) String() string { return [...]string{"free", "full", "liar", "gone"}[a] }

// udpHabit is what happens to a capacity query.
type udpHabit int

const (
	answers udpHabit = iota
	mute             // the request is not known: an empty answer
	silent           // no answer before the request times out
	noEntry          // no entry in the record, so nobody asks
)

func (h udpHabit) String() string { return [...]string{"answers", "mute", "silent", "no entry"}[h] }

// serverPlan is what a server is like.
type serverPlan struct {
	Index int
	Key   *ecdsa.PrivateKey
	IP    net.IP
	Port  int // TCP and UDP

	Admission admission
	UDP       udpHabit
	InDNS     bool
	Slots     int // for clients; 0 when not free

	Class       string        // "good", "average" or "poor"
	Latency     time.Duration // median until an answer of no work leaves
	Reliability float64       // share of requests that are answered, and rightly
	Price       float64       // factor on the cost of requests
	RefuseAfter time.Duration // from the client's status to the refusal

	speed float64 // place within its class, 0 = fastest, below 1
}

func (p *serverPlan) setClass(k int) {
	class := classes[k%len(classes)]
	p.Class, p.Reliability = class.name, class.reliability
	p.Latency = class.minLatency + time.Duration(p.speed*float64(class.maxLatency-class.minLatency))
}

func (p serverPlan) addr() string {
	return net.JoinHostPort(p.IP.String(), fmt.Sprint(p.Port))
}

// classes by falling quality.
var classes = []struct {
	name                   string
	minLatency, maxLatency time.Duration
	reliability            float64
}{
	{"good", 5 * time.Millisecond, 20 * time.Millisecond, 0.999},
	{"average", 30 * time.Millisecond, 80 * time.Millisecond, 0.98},
	{"poor", 150 * time.Millisecond, 400 * time.Millisecond, 0.8},
}

// plan decides what the servers are like; those that have gone come last.
// endpoints gives the address of a server by its index.
func plan(cfg networkConfig, endpoints func(index int) (net.IP, int)) []serverPlan {
	rnd := derive(cfg.Seed, "plan", 0)
	n := cfg.Servers
	total := n + atLeastOne(rareShare*float64(n))
	plans := make([]serverPlan, total)
	for i := range plans {
		plans[i] = character(cfg.Seed, i)
		plans[i].IP, plans[i].Port = endpoints(i)
		if i >= n {
			plans[i].setClass(i)
			plans[i].Admission, plans[i].UDP = gone, silent
			plans[i].InDNS, plans[i].Slots = true, 0
		}
	}
	order := rnd.Perm(n)
	nFull := int(math.Round(cfg.Full * float64(n)))
	for k, i := range order { // every class among the full and among the free
		if k < nFull {
			plans[i].Admission, plans[i].Slots = full, 0
			plans[i].setClass(k)
		} else {
			plans[i].setClass(k - nFull)
		}
	}
	assignLiars(plans, order[:nFull])
	assignHabits(plans, order, nFull)
	for _, i := range rnd.Perm(n)[:int(math.Ceil(dnsShare*float64(n)))] {
		plans[i].InDNS = true
	}
	return plans
}

func assignLiars(plans []serverPlan, fullOnes []int) {
	if len(fullOnes) < 2 {
		return
	}
	for _, i := range fullOnes[:atLeastOne(liarShare*float64(len(fullOnes)))] {
		plans[i].Admission = liar
		plans[i].RefuseAfter += 300 * time.Millisecond
	}
}

// assignHabits gives some servers a habit other than to answer. It takes them
// in turn from the full and the free ones, so that at most half of either kind
// is lost to those who ask before they dial. Liars answer: it makes them liars.
func assignHabits(plans []serverPlan, order []int, nFull int) {
	var turns [2][]int
	for k, i := range order {
		if plans[i].Admission == full {
			turns[0] = append(turns[0], i)
		} else if k >= nFull {
			turns[1] = append(turns[1], i)
		}
	}
	limit := [2]int{len(turns[0]) / 2, len(turns[1]) / 2}
	var chosen []int
	for k := range max(limit[0], limit[1]) {
		for side := range turns {
			if k < limit[side] {
				chosen = append(chosen, turns[side][k])
			}
		}
	}
	rare := atLeastOne(rareShare * float64(len(order)))
	for k, i := range chosen[:min(2*rare, len(chosen))] {
		plans[i].UDP = [...]udpHabit{silent, noEntry, noEntry, mute}[k%4]
	}
}

func atLeastOne(x float64) int { return max(1, int(math.Round(x))) }

// character draws what depends on seed and index only: who the server is, and
// how it differs from others of its class.
func character(seed uint64, index int) serverPlan {
	rnd := derive(seed, "server", index)
	p := serverPlan{Index: index, Key: newKey(rnd)}
	p.speed = rnd.Float64()
	p.Slots = 2 + rnd.IntN(3)
	p.Price = 0.5 + rnd.Float64()
	p.RefuseAfter = 5*time.Millisecond + time.Duration(rnd.Int64N(int64(45*time.Millisecond)))
	return p
}

func newKey(rnd *rand.Rand) *ecdsa.PrivateKey {
	for {
		var buf [32]byte
		for i := 0; i < len(buf); i += 8 {
			binary.BigEndian.PutUint64(buf[i:], rnd.Uint64())
		}
		if key, err := crypto.ToECDSA(buf[:]); err == nil {
			return key
		}
	}
}

// derive returns a random source of its own for each purpose and index.
func derive(seed uint64, purpose string, index int) *rand.Rand {
	text := fmt.Sprintf("lightdemo/%d/%s/%d", seed, purpose, index)
	return rand.New(rand.NewChaCha8(crypto.Keccak256Hash([]byte(text))))
}

// ownAddresses gives every server an address in 127.0.0.0/8, in a /24 that
// belongs to the seed.
func ownAddresses(seed uint64) func(index int) (net.IP, int) {
	rnd := derive(seed, "address", 0)
	a, b := byte(1+rnd.IntN(254)), byte(rnd.IntN(256))
	return func(index int) (net.IP, int) { return net.IPv4(127, a, b, byte(1+index)), serverPort }
}

// ownPorts is for systems on which 127.0.0.1 is the only loopback address.
func ownPorts(seed uint64) func(index int) (net.IP, int) {
	block := derive(seed, "port", 0).IntN(portBlocks)
	return func(index int) (net.IP, int) {
		return net.IPv4(127, 0, 0, 1), firstPort + block*addressesPerSeed + index
	}
}
