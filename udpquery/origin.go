package udpquery

import (
	"encoding/hex"
	"net"
	"net/netip"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// origin is where a batch comes from: an IP address, or a text that is none. The
// port, the zone and the IPv4-in-IPv6 form are gone, as they do not identify a
// host.
type origin struct {
	ip   netip.Addr // invalid if the address was not understood
	text string     // in that case
}

func (o *origin) setUDP(addr *net.UDPAddr) {
	if addr != nil {
		ip, _ := netip.AddrFromSlice(addr.IP)
		o.ip = ip.Unmap()
	}
}

// textOrigin takes an IP address with or without a port.
func textOrigin(address string) origin {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		withPort, err := netip.ParseAddrPort(address)
		if err != nil {
			return origin{text: address}
		}
		ip = withPort.Addr()
	}
	return origin{ip: ip.Unmap().WithZone("")}
}

// address is what services get: the IP address, or the id of a local node and of
// one whose address was not understood. Light servers use the same on TCP to know
// a client without tokens again.
func (o origin) address(id enode.ID) string {
	if !o.ip.IsValid() || o.ip.IsLoopback() {
		return hex.EncodeToString(id[:]) // what id.String gives, but faster
	}
	return o.ip.String()
}

// group is what counts as one address to the limiter: what one host can have at
// will, which is an IPv4 address or an IPv6 /64.
func (o origin) group() groupKey {
	if !o.ip.IsValid() {
		return groupKey{text: o.text}
	}
	bits := 64
	if o.ip.Is4() {
		bits = 32
	}
	prefix, _ := o.ip.Prefix(bits) // cannot fail: bits suit the address
	return groupKey{prefix: prefix}
}
