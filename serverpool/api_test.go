package serverpool

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rpc"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// The pool by JSON-RPC.

func TestDurationInJSON(t *testing.T) {
	for d, text := range map[Duration]string{
		0: "0", Duration(14 * time.Second): "14", Duration(1500 * time.Millisecond): "1.5", Duration(-time.Minute): "-60",
	} {
		b, err := json.Marshal(d)
		require.NoError(t, err)
		require.Equal(t, text, string(b))
		var again Duration
		require.NoError(t, json.Unmarshal(b, &again))
		require.Equal(t, d, again)
	}
	require.Equal(t, "1m0s", fmt.Sprint(Duration(time.Minute)))
	for _, bad := range []string{"1e300", `"1s"`, "{}"} {
		require.Error(t, json.Unmarshal([]byte(bad), new(Duration)), bad)
	}
}

// overRPC returns a pool and a client of its API on a real server.
func overRPC(t *testing.T) (*world, *rpc.Client) {
	w := newWorld(t)
	w.open(func(c *Config) { c.Clock = nil; c.Query = nil })
	w.pool.Start()
	server := rpc.NewServer()
	t.Cleanup(server.Stop)
	require.NoError(t, server.RegisterName("vflux", w.pool.API()))
	client := rpc.DialInProc(server)
	t.Cleanup(client.Close)
	return w, client
}

func TestPoolOverRPC(t *testing.T) {
	w, client := overRPC(t)
	friend, spammer, known := testutil.PublicNode(1), testutil.PublicNode(2), testutil.PublicNode(3)
	serve(w.connect(known), 100)
	w.pool.UnregisterNode(known)

	var ban BanInfo
	require.NoError(t, client.Call(&ban, "vflux_ban", spammer.ID(), 3600, "spam"))
	require.Equal(t, spammer.ID(), ban.ID)
	require.Equal(t, "spam", ban.Reason)
	require.Equal(t, Duration(time.Hour), ban.Left)
	var bans []BanInfo
	require.NoError(t, client.Call(&bans, "vflux_bans"))
	require.Len(t, bans, 1)
	var was bool
	require.NoError(t, client.Call(&was, "vflux_unban", spammer.URLv4()))
	require.True(t, was)
	require.NoError(t, client.Call(&was, "vflux_unban", spammer.String()))
	require.False(t, was)
	var raw json.RawMessage
	require.NoError(t, client.Call(&raw, "vflux_bans"))
	require.Equal(t, "[]", string(raw))

	require.NoError(t, client.Call(nil, "vflux_setTrusted", friend.String(), true))
	var s Status
	require.NoError(t, client.Call(&s, "vflux_poolStatus"))
	require.Equal(t, 1, s.Trusted)
	require.Equal(t, 1, s.Known)
	require.Len(t, s.KnownServers, 1)
	require.Equal(t, known.ID(), s.KnownServers[0].ID)
	require.NotEmpty(t, s.Words)
	require.ErrorContains(t, client.Call(nil, "vflux_ban", friend.ID(), 1.5, ""), "trusted")
	require.NoError(t, client.Call(nil, "vflux_setTrusted", friend.ID(), false), "known by now, so its id will do")

	var node NodeStatus
	require.NoError(t, client.Call(&node, "vflux_nodeStatus", "0x"+known.ID().String()))
	require.True(t, node.Known)
	require.Equal(t, known.String(), node.Node.String())
	require.NoError(t, client.Call(nil, "vflux_forget", known.ID()))
	require.Eventually(t, func() bool { // its last flag is gone in a moment
		err := client.Call(&node, "vflux_nodeStatus", known.ID())
		return err != nil && strings.Contains(err.Error(), "nothing is known")
	}, 10*time.Second, time.Millisecond)

}

func TestBadCallsOverRPC(t *testing.T) {
	_, client := overRPC(t)
	spammer := testutil.PublicNode(2)
	for _, call := range [][]any{
		{"vflux_nodeStatus", "nobody"}, {"vflux_ban", "nobody", 1, ""}, {"vflux_unban", "enode://zz@1.2.3.4:5"},
		{"vflux_setTrusted", "0x12", true}, {"vflux_forget", "enr:-"},
	} {
		require.ErrorContains(t, client.Call(nil, call[0].(string), call[1:]...), "neither a node id nor", call[0])
	}
	require.ErrorContains(t, client.Call(nil, "vflux_setTrusted", testutil.PublicNode(77).ID(), true), "no TCP endpoint")
	for _, seconds := range []float64{0, -1} {
		require.ErrorContains(t, client.Call(nil, "vflux_ban", spammer.ID(), seconds, ""), "time above 0")
	}
	var ban BanInfo
	require.NoError(t, client.Call(&ban, "vflux_ban", spammer.ID(), 1e300, ""))
	require.Equal(t, Duration(maxBan), ban.Left)
}

// Names in JSON begin with a small letter, at all depths.
func TestNamesInJSON(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		w.pool.Start()
		w.connect(testutil.PublicNode(1))
		require.NoError(t, w.pool.Ban(testutil.PublicNode(2), time.Minute, ""))
		for _, v := range []any{w.pool.Status(), w.pool.Bans()[0]} {
			b, err := json.Marshal(v)
			require.NoError(t, err)
			var fields map[string]any
			require.NoError(t, json.Unmarshal(b, &fields))
			if list, ok := fields["connectedServers"].([]any); ok {
				require.Len(t, list, 1)
				for name, value := range list[0].(map[string]any) {
					require.NotNil(t, value)
					require.Equal(t, strings.ToLower(name[:1]), name[:1])
				}
			}
			for name := range fields {
				require.Equal(t, strings.ToLower(name[:1]), name[:1])
			}
		}
	})
}
