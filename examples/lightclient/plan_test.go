package main

import (
	"math"
	"net"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/stretchr/testify/require"
)

func TestSamePlanForSameSeed(t *testing.T) {
	cfg := networkConfig{Servers: 30, Full: 0.8, Seed: 7}
	require.Equal(t, plan(cfg, ownAddresses(7)), plan(cfg, ownAddresses(7)))
	require.NotEqual(t, plan(cfg, ownAddresses(7)), plan(networkConfig{30, 0.8, 8}, ownAddresses(8)))
}

// Who a server is, and where, does not depend on how many others there are.
func TestIdentityDependsOnSeedAndIndexOnly(t *testing.T) {
	small := plan(networkConfig{Servers: 5, Full: 0.2, Seed: 3}, ownAddresses(3))
	large := plan(networkConfig{Servers: 100, Full: 0.9, Seed: 3}, ownAddresses(3))
	for i := range small {
		require.Equal(t, small[i].Key, large[i].Key)
		require.Equal(t, small[i].addr(), large[i].addr())
	}
}

func TestEveryKindOccurs(t *testing.T) {
	for seed := range uint64(20) {
		plans := plan(networkConfig{Servers: 30, Full: 0.8, Seed: seed}, ownAddresses(seed))
		count := make(map[string]int)
		for _, p := range plans {
			count[p.Admission.String()]++
			count["UDP "+p.UDP.String()]++
			count[p.Class]++
			if p.Admission == free {
				count["free, "+p.Class]++
				if p.UDP == answers {
					count["says yes"]++
				}
			}
			if p.InDNS {
				count["in DNS"]++
			}
			require.Equal(t, p.Admission == free, p.Slots > 0, "slots of a %v server", p.Admission)
			require.Greater(t, p.Latency, classes[0].minLatency-1)
		}
		require.Equal(t, 6, count["free"])
		require.Equal(t, 24, count["full"]+count["liar"])
		require.Equal(t, 4, count["liar"])
		require.Equal(t, 3, count["gone"])
		require.Equal(t, 3, count["UDP no entry"])
		require.Equal(t, 3, count["says yes"])
		require.Equal(t, 18+3, count["in DNS"])
		for _, kind := range []string{
			"UDP mute", "UDP silent", "good", "average", "poor", "free, good", "free, average", "free, poor",
		} {
			require.NotZero(t, count[kind], "%s, seed %d", kind, seed)
		}
	}
}

func TestExtremeConfigs(t *testing.T) {
	for _, cfg := range []networkConfig{
		{Servers: 2}, {Servers: 2, Full: 1}, {Servers: 3, Full: 0.5}, {Servers: maxServers, Full: 0.99},
		{}, {Full: 1},
	} {
		cfg, err := cfg.withDefaults()
		require.NoError(t, err)
		plans := plan(cfg, ownAddresses(0))
		require.LessOrEqual(t, len(plans), addressesPerSeed)
		nFree := 0
		for _, p := range plans {
			if p.Admission == free {
				nFree++
			}
		}
		require.Equal(t, cfg.Servers-int(math.Round(cfg.Full*float64(cfg.Servers))), nFree)
	}
}

func TestBadConfigsNameTheField(t *testing.T) {
	for field, cfg := range map[string]networkConfig{
		"Servers": {Servers: 1},
		"Full":    {Full: math.NaN()},
	} {
		_, err := cfg.withDefaults()
		require.ErrorContains(t, err, field)
	}
	for _, cfg := range []networkConfig{{Servers: -1}, {Servers: maxServers + 1}, {Full: -0.1}, {Full: 1.1}} {
		_, err := startNetwork(t.Context(), cfg)
		require.Error(t, err)
	}
}

func TestAddressesAreDistinctAndLoopback(t *testing.T) {
	for seed := range uint64(20) {
		for _, endpoints := range []func(int) (net.IP, int){ownAddresses(seed), ownPorts(seed)} {
			seen := make(map[string]bool)
			for i := range addressesPerSeed {
				ip, port := endpoints(i)
				p := serverPlan{IP: ip, Port: port}
				require.True(t, ip.IsLoopback())
				require.Less(t, port, 32768, "below the ports that systems hand out")
				require.GreaterOrEqual(t, port, firstPort)
				require.False(t, seen[p.addr()])
				seen[p.addr()] = true
			}
		}
	}
}

func TestKeysAreDistinct(t *testing.T) {
	seen := make(map[string]bool)
	for seed := range uint64(3) {
		for i := range 50 {
			address := crypto.PubkeyToAddress(character(seed, i).Key.PublicKey).Hex()
			require.False(t, seen[address])
			seen[address] = true
		}
	}
}
