//go:build !geth135

package udpquery

import (
	"testing"

	"github.com/ethereum/go-ethereum/log"
)

// captureLog returns a function that counts the lines logged since that contain
// a text.
func captureLog(t *testing.T) (lines func(text string) int) {
	old, collect := log.Root(), new(logLines)
	log.SetDefault(log.NewLogger(log.LogfmtHandler(collect)))
	t.Cleanup(func() { log.SetDefault(old) })
	return collect.containing
}
