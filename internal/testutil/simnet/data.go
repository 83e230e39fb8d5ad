package simnet

import (
	_ "embed"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed testdata/rtt.txt
var rttText string

//go:embed testdata/addresses.txt
var addressText string

// measured is what was measured in the real Internet.
type measured struct {
	rtt       [][]time.Duration // by client and server
	addresses []net.IP
}

// data parses the embedded files, which the tests check.
var data = sync.OnceValue(func() (m measured) {
	for line := range strings.Lines(rttText) {
		var row []time.Duration
		for _, field := range strings.Fields(line) {
			ms, _ := strconv.ParseFloat(field, 64)
			row = append(row, time.Duration(ms*float64(time.Millisecond)))
		}
		m.rtt = append(m.rtt, row)
	}
	for _, field := range strings.Fields(addressText) {
		m.addresses = append(m.addresses, net.ParseIP(field).To4())
	}
	return m
})
