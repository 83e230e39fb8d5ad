package lespay

import (
	"math"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rpc"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

func TestAPIOverRPC(t *testing.T) {
	w := newWorld(t)
	vt := w.start()
	node := testutil.PublicNode(1)
	vt.Register(node.ID()).Served(one(1, 100), 100*time.Millisecond)
	vt.Register(id(0)).Served(one(1, 300), 2*time.Second)
	server := rpc.NewServer()
	defer server.Stop()
	require.NoError(t, server.RegisterName("vflux", NewPrivateClientAPI(vt)))
	client := rpc.DialInProc(server)
	defer client.Close()

	var stats []RequestStatsItem
	require.NoError(t, client.Call(&stats, "vflux_requestStats"))
	require.Equal(t, vt.RequestStats(), stats)

	for _, name := range []string{node.String(), node.URLv4(), node.ID().String(), "0x" + node.ID().String()} {
		var v, d float64
		require.NoError(t, client.Call(&v, "vflux_value", name, 1.0), name)
		require.InEpsilon(t, 100*math.Cos(math.Pi/20), v, 0.01)
		require.NoError(t, client.Call(&d, "vflux_timeout", name, 0.5), name)
		require.InDelta(t, 0.1, d, 0.03)
	}
	var v, d float64
	require.NoError(t, client.Call(&v, "vflux_value", "", 1.0))
	require.Zero(t, v, "most of it came far too late")
	require.NoError(t, client.Call(&d, "vflux_timeout", "", 0.1))
	require.InDelta(t, 2, d, 0.5)
	var dist RtDistribution
	require.NoError(t, client.Call(&dist, "vflux_distribution", "", false))
	require.Equal(t, vt.RtStats().Distribution(false, vt.StatsExpFactor()), dist)
	require.NoError(t, client.Call(&dist, "vflux_distribution", id(0).String(), true))
	require.Equal(t, vt.GetNode(id(0)).RtStats().Distribution(true, vt.StatsExpFactor()), dist)
	require.NoError(t, client.Call(&v, "vflux_value", id(55).String(), 1.0))
	require.Zero(t, v, "never met")

	for _, name := range []string{"nobody", "0x12", "enode://zz@1.2.3.4:5", "enr:-", id(0).String() + "0"} {
		require.ErrorContains(t, client.Call(&v, "vflux_value", name, 1.0), name)
		require.ErrorContains(t, client.Call(&v, "vflux_timeout", name, 0.1), name)
		require.ErrorContains(t, client.Call(&dist, "vflux_distribution", name, true), name)
	}
	for _, rate := range []float64{-0.1, 1.1} {
		require.ErrorContains(t, client.Call(&v, "vflux_timeout", "", rate), "fail rate")
	}
	for _, timeout := range []float64{0, -1, 1e300} {
		require.ErrorContains(t, client.Call(&v, "vflux_value", "", timeout), "timeout of")
	}
}

func TestAPIRefusesNaN(t *testing.T) {
	api := NewPrivateClientAPI(newWorld(t).start())
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		_, err := api.Timeout("", bad)
		require.Error(t, err)
		_, err = api.Value("", bad)
		require.Error(t, err)
	}
}
