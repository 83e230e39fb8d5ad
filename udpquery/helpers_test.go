package udpquery

import (
	"net"
	"net/netip"
)

func udpAddr(address string) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))
}
