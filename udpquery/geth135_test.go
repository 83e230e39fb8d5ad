//go:build geth135

package udpquery

import (
	"testing"

	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/discover"
)

var (
	_ Transport                   = (*discover.UDPv5)(nil)
	_ RecordRequester             = (*discover.UDPv5)(nil)
	_ discover.TalkRequestHandler = (*Server)(nil).ServeEncoded
)

// captureLog returns a function that counts the lines logged since that contain
// a text.
func captureLog(t *testing.T) (lines func(text string) int) {
	old, collect := log.Root().GetHandler(), new(logLines)
	log.Root().SetHandler(log.StreamHandler(collect, log.LogfmtFormat()))
	t.Cleanup(func() { log.Root().SetHandler(old) })
	return collect.containing
}
