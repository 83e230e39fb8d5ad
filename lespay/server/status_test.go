package server

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStatus(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 2; c.Synced = func() bool { return false } })
	w.pay(1, 10*hour)
	w.pay(2, hour)
	free := w.newPeer(3)
	free.allowance = time.Hour
	free.register()
	rich := w.connect(1)
	w.connect(2)
	_, err := rich.set(500)
	require.NoError(t, err)
	w.clock.Run(10 * time.Minute)
	rich.balance.RequestServed(uint64(10 * time.Minute))

	s := NewPrivateServerAPI(w.ClientPool).Status()
	require.EqualValues(t, 2, s.MaxClients)
	require.EqualValues(t, 1000, s.MaxCapacity)
	require.EqualValues(t, 2, s.ActiveClients)
	require.EqualValues(t, 600, s.ActiveCapacity)
	require.False(t, s.Synced)
	require.Len(t, s.Clients, 3)
	first, second, third := s.Clients[0], s.Clients[1], s.Clients[2]
	require.Equal(t, nodeID(1), first.ID)
	require.Equal(t, address(1), first.FreeID)
	require.EqualValues(t, 500, first.Capacity)
	require.EqualValues(t, 10*hour-int64(20*time.Minute), first.Tokens)
	require.EqualValues(t, first.Tokens/500, first.Priority)
	require.EqualValues(t, 600, first.Connected)
	require.InDelta(t, float64(first.Tokens)/2e9, *first.Exhausted, 1, "requests cost as much as the time")
	require.Equal(t, nodeID(2), second.ID)
	require.InDelta(t, 3000, *second.Exhausted, 1)
	require.Equal(t, nodeID(3), third.ID)
	require.False(t, third.Active)
	require.Nil(t, third.Exhausted)

	data, err := json.Marshal(s)
	require.NoError(t, err)
	require.Contains(t, string(data), `"maxCapacity":1000`)
	require.Contains(t, string(data), `"id":"`+nodeID(1).String()+`"`)
}
