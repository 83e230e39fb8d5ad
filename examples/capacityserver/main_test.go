package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The story comes out as it should; which free client has to go depends on which
// one owes most.
func TestStory(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, tell(&out))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Equal(t, []string{
		"a server has 3 slots, and a capacity of 1000",
		"free client 1 connects and has 100",
		"free client 2 connects and has 100",
		"free client 3 connects and has 100",
		"a client asks by UDP: it would get 0 now, and 1000 with 5400000000 tokens",
		"it buys them, connects and has 100",
		"it asks for more and has 500",
	}, lines[:7])
	require.Regexp(t, "^free client [123] has to go$", lines[7])
	require.Equal(t, []string{
		"3 clients have 700 of 1000",
		"the paying one has 500, for another 3h0m0s",
	}, lines[8:])
}
