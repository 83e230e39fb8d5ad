package serverpool

import (
	"math"
	"net"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/netutil"
)

// netCap bounds how many of the nodes under way are in one /24 (IPv4) or /48
// (IPv6) network, so that whoever owns one cannot become all of our servers.
// Loopback and local networks are exempt. When the cap is all that stands
// between the pool and the servers it wants, it widens by one at a time.
type netCap struct {
	base, limit uint // as configured, and widened
	members     map[enode.ID]network
	counts      map[network]uint // members of each
	latest      [quotaOf]network // of the latest dials
	dials       int              // so far
	spread      int              // of the latest dials, those of networks that the cap holds for

	starving bool // nodes were refused and none admitted since then
	since    mclock.AbsTime
}

// network is a network that the cap holds for; the zero value stands for all that
// are exempt.
type network struct {
	prefix [6]byte
	bits   uint8 // its length
}

// networkOf returns the network of an address; without a limit all are exempt.
func (c *netCap) networkOf(ip net.IP) (of network) {
	if c.base == noNetCap || len(ip) == 0 || netutil.IsLAN(ip) {
		return of
	}
	of.bits = 48
	if ip4 := ip.To4(); ip4 != nil {
		ip, of.bits = ip4, 24
	}
	copy(of.prefix[:], ip[:of.bits/8])
	return of
}

// widenAfter is how long the pool must have been short of candidates because
// of the cap before it widens. Less gives in sooner to whoever floods one
// network, more delays the first connection where all servers share one.
const widenAfter = 2 * time.Second

// quota is how many of quotaOf dials in a row may go to one network, and that many
// more for each step that the cap is widened. More spends more of the dials on
// whoever owns one, fewer makes less use of networks with many servers. It holds
// when at least quotaOthers of these dials went elsewhere, so that there is an
// elsewhere.
const (
	quotaOf     = 20
	quota       = 3
	quotaOthers = 8
)

// noNetCap as a limit is none.
const noNetCap = math.MaxInt32

func newNetCap(limit int) *netCap {
	return &netCap{
		base:    uint(limit),
		limit:   uint(limit),
		members: make(map[enode.ID]network),
		counts:  make(map[network]uint),
	}
}

// dialed notes the dial of a member, or of a node that is exempt.
func (c *netCap) dialed(id enode.ID) {
	slot, of := &c.latest[c.dials%quotaOf], c.members[id]
	if *slot != (network{}) {
		c.spread--
	}
	if of != (network{}) {
		c.spread++
	}
	*slot = of
	c.dials++
}

// spent tells whether a network has had its share of the latest dials.
func (c *netCap) spent(of network) bool {
	if c.spread < quotaOthers {
		return false
	}
	count := 0
	for _, latest := range c.latest {
		if latest == of {
			count++
		}
	}
	return c.spread-count >= quotaOthers && uint(count) >= quota*(1+c.limit-c.base)
}

// admit counts the node in if its network has room. short tells that fewer
// nodes are under way than servers are wanted. widened is the new limit if it
// had to be raised for this node.
func (c *netCap) admit(id enode.ID, ip net.IP, now mclock.AbsTime, short bool) (ok bool, widened uint) {
	if _, member := c.members[id]; member {
		return true, 0
	}
	of := c.networkOf(ip)
	if of == (network{}) {
		return true, 0
	}
	if !short {
		c.starving = false
		c.limit = c.base
	}
	if c.counts[of] < c.limit && !c.spent(of) {
		c.starving = false
		c.add(id, of)
		return true, 0
	}
	switch {
	case !short:
	case !c.starving:
		c.starving, c.since = true, now
	case now.Sub(c.since) >= widenAfter:
		c.limit++
		ok, _ = c.admit(id, ip, now, short)
		return ok, c.limit
	}
	return false, 0
}

// force counts the node in whatever the limit says; for servers that connected
// without being asked and for trusted ones. The address is asked for if it is
// needed: that takes some time.
func (c *netCap) force(id enode.ID, ip func() net.IP) {
	if _, member := c.members[id]; member || c.base == noNetCap {
		return
	}
	if of := c.networkOf(ip()); of != (network{}) {
		c.add(id, of)
	}
}

func (c *netCap) add(id enode.ID, of network) {
	c.members[id] = of
	c.counts[of]++
}

func (c *netCap) remove(id enode.ID) {
	of, member := c.members[id]
	if !member {
		return
	}
	delete(c.members, id)
	if c.counts[of]--; c.counts[of] == 0 {
		delete(c.counts, of)
	}
}
