package udpquery

import (
	"net"
	"net/netip"
	"strings"
	"sync"
)

func udpAddr(address string) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))
}

// logLines collects what is logged.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
	return len(line), nil
}

func (l *logLines) containing(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
