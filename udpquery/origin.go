package udpquery

import (
	"net"
	"net/netip"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// origin is where a batch comes from: as services get it, and as the limiter
// groups it.
type origin struct {
	address string
	group   groupKey
}

func udpOrigin(id enode.ID, addr *net.UDPAddr) origin {
	if addr == nil {
		return newOrigin(id, netip.Addr{}, "")
	}
	ip, _ := netip.AddrFromSlice(addr.IP)
	return newOrigin(id, ip, "")
}

// textOrigin takes an IP address with or without a port.
func textOrigin(id enode.ID, address string) origin {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return newOrigin(id, ap.Addr(), address)
	}
	ip, _ := netip.ParseAddr(address)
	return newOrigin(id, ip, address)
}

// newOrigin drops what does not identify a host: the zone and the IPv4-in-IPv6
// form. A local node, or one whose address is not understood, goes by its id,
// which is what light servers use as the id of a free client.
func newOrigin(id enode.ID, ip netip.Addr, text string) origin {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() {
		return origin{id.String(), groupKey{text: text}}
	}
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	prefix, _ := ip.Prefix(bits) // cannot fail: bits suit the address
	if ip.IsLoopback() {
		return origin{id.String(), groupKey{prefix: prefix}}
	}
	return origin{ip.String(), groupKey{prefix: prefix}}
}
