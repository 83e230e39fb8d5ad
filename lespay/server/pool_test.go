package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A day at the door: free clients take all places, one who pays takes one from
// them, buys more capacity, runs out of tokens, and is a free client then.
func TestPayingClientComesFirst(t *testing.T) {
	w := newWorld(t, nil)
	var free []*peer
	for i := range 10 {
		free = append(free, w.connect(i))
		require.EqualValues(t, 100, free[i].capacity)
	}
	w.clock.Run(time.Second)
	late := w.newPeer(10)
	late.allowance = time.Minute
	late.register()
	require.EqualValues(t, 100, late.capacity, "owes less than the others by now")
	require.Equal(t, []string{"100", "0"}, free[9].calls, "of equals, who came last goes")
	w.clock.Run(1)
	require.Equal(t, 1, free[9].disconnected, "at once: no allowance")
	free[9].leave()

	w.pay(11, hour)
	payer := w.connect(11)
	require.EqualValues(t, 100, payer.capacity)
	require.Zero(t, free[8].capacity)
	got, err := payer.set(500)
	require.NoError(t, err)
	require.EqualValues(t, 500, got)
	require.EqualValues(t, 500, payer.capacity)
	require.True(t, payer.requested)
	got, err = late.set(200)
	require.ErrorIs(t, err, ErrNoPriority)
	require.EqualValues(t, 100, got)
	w.requireConsistent()

	w.clock.Run(time.Hour + time.Second)
	require.EqualValues(t, 100, payer.capacity, "nothing is left")
	pos, neg := payer.balance.GetBalance()
	require.Zero(t, pos)
	require.InDelta(t, 1e9, neg, 2e6)
	w.requireConsistent()
}

func TestWaitingClientIsLetIn(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 1 })
	first := w.connect(1)
	w.owe(2, 5e9)
	second := w.newPeer(2)
	second.allowance = time.Hour
	second.register()
	require.Zero(t, second.capacity)
	w.clock.Run(4 * time.Second)
	require.Zero(t, second.capacity)
	w.clock.Run(3 * time.Second)
	require.EqualValues(t, 100, second.capacity, "the other owes more by now")
	require.Zero(t, first.capacity)
	require.Zero(t, second.disconnected)
	w.requireConsistent()

	second.leave()
	require.Zero(t, first.capacity, "was told to go")
	require.Equal(t, 1, first.disconnected)
}

// The figures that a deployed server was measured with, and what they should have
// been: with tokens for 20 hours, ten free clients at the limits.
func TestQueryOfFullPool(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 10 {
		w.connect(i)
	}
	w.pay(20, 20*hour)
	require.EqualValues(t, []uint64{1000}, w.ask(20, 180, 0))
	payer := w.connect(20)
	require.EqualValues(t, 100, payer.capacity)
	got, err := payer.set(1000)
	require.NoError(t, err)
	require.EqualValues(t, 1000, got)
}

func TestBiasProtectsInsiders(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.ConnectedBias = 180 * time.Second })
	for i := range 10 {
		w.connect(i)
	}
	w.clock.Run(time.Second)
	refused := func() {
		require.Equal(t, []uint64{0}, w.ask(20, 180, 0))
		p := w.connect(20)
		require.Zero(t, p.capacity)
		p.leave()
	}
	refused()
	w.clock.Run(59 * time.Second)
	refused()
	w.clock.Run(130 * time.Second)
	require.Equal(t, []uint64{100}, w.ask(20, 180, 0))
	require.EqualValues(t, 100, w.connect(20).capacity)
}

// Who waits because of the bias is let in as soon as there is none.
func TestLowerBiasLetsIn(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients, c.ConnectedBias = 1, time.Hour })
	first := w.connect(1)
	w.clock.Run(time.Minute)
	second := w.newPeer(2)
	second.allowance = time.Hour
	second.register()
	require.Zero(t, second.capacity)
	w.SetConnectedBias(0)
	require.EqualValues(t, 100, second.capacity)
	require.Zero(t, first.capacity)
}
