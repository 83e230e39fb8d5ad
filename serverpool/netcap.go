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
	base    uint // the configured limit
	v4, v6  netutil.DistinctNetSet
	members map[enode.ID]net.IP
	latest  [quotaOf]string // networks of the latest dials
	dials   int             // so far

	starving bool // nodes were refused and none admitted since then
	since    mclock.AbsTime
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

// dialed notes a dial.
func (c *netCap) dialed(ip net.IP) {
	c.latest[c.dials%quotaOf] = network(ip)
	c.dials++
}

// spent tells whether a network has had its share of the latest dials.
func (c *netCap) spent(ip net.IP) bool {
	if c.base == math.MaxInt32 {
		return false
	}
	count, others, of := uint(0), 0, network(ip)
	for _, latest := range c.latest {
		switch latest {
		case of:
			count++
		case "":
		default:
			others++
		}
	}
	return others >= quotaOthers && count >= quota*(1+c.v4.Limit-c.base)
}

// network names the network of an address, "" if it is exempt.
func network(ip net.IP) string {
	if exempt(ip) {
		return ""
	}
	bits := 48
	if ip4 := ip.To4(); ip4 != nil {
		ip, bits = ip4, 24
	}
	return string(ip[:bits/8])
}

func newNetCap(limit int) *netCap {
	return &netCap{
		base:    uint(limit),
		v4:      netutil.DistinctNetSet{Subnet: 24, Limit: uint(limit)},
		v6:      netutil.DistinctNetSet{Subnet: 48, Limit: uint(limit)},
		members: make(map[enode.ID]net.IP),
	}
}

func (c *netCap) set(ip net.IP) *netutil.DistinctNetSet {
	if ip.To4() != nil {
		return &c.v4
	}
	return &c.v6
}

func exempt(ip net.IP) bool { return len(ip) == 0 || netutil.IsLAN(ip) }

// admit counts the node in if its network has room. short tells that fewer
// nodes are under way than servers are wanted. widened is the new limit if it
// had to be raised for this node.
func (c *netCap) admit(id enode.ID, ip net.IP, now mclock.AbsTime, short bool) (ok bool, widened uint) {
	if _, member := c.members[id]; member || exempt(ip) {
		return true, 0
	}
	if !short {
		c.starving = false
		c.setLimit(c.base)
	}
	if !c.spent(ip) && c.set(ip).Add(ip) {
		c.starving = false
		c.members[id] = ip
		return true, 0
	}
	switch {
	case !short:
	case !c.starving:
		c.starving, c.since = true, now
	case now.Sub(c.since) >= widenAfter:
		c.setLimit(c.v4.Limit + 1)
		ok, _ = c.admit(id, ip, now, short)
		return ok, c.v4.Limit
	}
	return false, 0
}

// force counts the node in whatever the limit says; for servers that connected
// without being asked and for trusted ones.
func (c *netCap) force(id enode.ID, ip net.IP) {
	if _, member := c.members[id]; member || exempt(ip) {
		return
	}
	limit := c.v4.Limit
	c.setLimit(math.MaxInt32)
	c.set(ip).Add(ip)
	c.setLimit(limit)
	c.members[id] = ip
}

func (c *netCap) remove(id enode.ID) {
	if ip, ok := c.members[id]; ok {
		c.set(ip).Remove(ip)
		delete(c.members, id)
	}
}

func (c *netCap) setLimit(limit uint) { c.v4.Limit, c.v6.Limit = limit, limit }
