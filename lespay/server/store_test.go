package server

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/lespay"
)

// The entries that an older server wrote are found, and those written are the same.
func TestStoreHasTheFormatOfOlderServers(t *testing.T) {
	var id enode.ID
	for i := range id {
		id[i] = byte(i)
	}
	store := testutil.NewFaultyStore()
	entries := 0
	for _, v := range readVectors(t) {
		if v.Category != "client_db" || !strings.HasPrefix(v.Name, "db_entry") {
			continue
		}
		var decoded struct {
			KeyHex string `json:"key_hex"`
		}
		require.NoError(t, json.Unmarshal(v.Decoded, &decoded))
		key, err := hex.DecodeString(decoded.KeyHex)
		require.NoError(t, err)
		require.NoError(t, store.Database.Put(key, v.bytes))
		entries++
	}
	require.Equal(t, 4, entries)
	w := newWorldOn(t, store, nil)
	for _, c := range []struct {
		address  string
		pos, neg uint64
	}{{"10.0.0.1", 36e11, 1e12}, {"2001:db8::1", 36e11, 1000001}, {"", 36e11, 0}} {
		w.BalanceOperation(id, c.address, func(b AtomicBalanceOperator) {
			pos, neg := b.GetBalance()
			require.EqualValues(t, c.pos, pos)
			require.EqualValues(t, c.neg, neg)
		})
	}
	require.EqualValues(t, 36e11, w.TotalTokenAmount())

	w.BalanceOperation(id, "10.0.0.1", func(b AtomicBalanceOperator) {
		require.NoError(t, b.SetBalance(5e12, 2e12))
	})
	for key, want := range map[string]uint64{tokenKey(id): 5e12, debtKey("10.0.0.1"): 2e12} {
		var value lespay.ExpiredValue
		data, err := store.Database.Get([]byte(key))
		require.NoError(t, err)
		require.NoError(t, rlp.DecodeBytes(data, &value))
		require.Equal(t, lespay.ExpiredValue{Base: want}, value)
	}
}

func TestUndecodableBalancesCountAsNone(t *testing.T) {
	store := testutil.NewFaultyStore()
	for i, v := range readVectors(t) {
		if strings.HasPrefix(v.Name, "db_bad") {
			require.NoError(t, store.Database.Put([]byte(tokenKey(nodeID(i))), v.bytes))
		}
	}
	require.NoError(t, store.Database.Put([]byte(tokenKey(nodeID(1000))[:20]), []byte{0xc2, 5, 0x80})) // odd key
	require.NoError(t, store.Database.Put([]byte(offsetsKey), []byte("nonsense")))
	w := newWorldOn(t, store, nil)
	w.pay(1, hour)
	require.EqualValues(t, hour, w.TotalTokenAmount())
	require.Equal(t, []enode.ID{nodeID(1)}, w.GetPosBalanceIDs(enode.ID{}, enode.ID{}, 10))
	w.clock.Run(2 * time.Hour)
	require.EqualValues(t, hour, w.TotalTokenAmount())
}

// Whatever is in the store, nothing panics and balances stay in range.
func FuzzStoredBalance(f *testing.F) {
	f.Add([]byte{0xc2, 0x80, 0x80}, []byte("0123456789abcdef"))
	f.Add([]byte{0xc7, 0x85, 0xe8, 0xd4, 0xa5, 0x10, 0x00, 0x80}, []byte{})
	f.Fuzz(func(t *testing.T, value, offsets []byte) {
		store := testutil.NewFaultyStore()
		require.NoError(t, store.Database.Put([]byte(tokenKey(nodeID(1))), value))
		require.NoError(t, store.Database.Put([]byte(debtKey(address(1))), value))
		require.NoError(t, store.Database.Put([]byte(offsetsKey), offsets))
		w := newWorldOn(t, store, func(c *Config) { c.TokenLifetime, c.DebtLifetime = time.Hour, time.Hour })
		pos, neg := w.balanceOf(1)
		require.LessOrEqual(t, pos, uint64(maxBalance))
		require.LessOrEqual(t, neg, uint64(maxBalance))
		p := w.connect(1)
		w.clock.Run(time.Minute)
		p.balance.RequestServed(math.MaxUint64)
		w.requireConsistent()
	})
}

// reopen ends a pool, cleanly or not, and makes another one on what is stored.
func (w *world) reopen(crash bool, change func(*Config)) *world {
	store := testutil.NewFaultyStore()
	if !crash {
		w.Stop()
	}
	it := w.store.Database.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		require.NoError(w.t, store.Database.Put(it.Key(), it.Value()))
	}
	return newWorldOn(w.t, store, change)
}

// After a clean stop everything is there again, with the time until then charged.
func TestRestartKeepsBalances(t *testing.T) {
	decaying := func(c *Config) { c.TokenLifetime, c.DebtLifetime = 20*time.Hour, 10*time.Hour }
	w := newWorld(t, decaying)
	w.pay(1, hour)
	w.pay(2, 1)
	payer, free := w.connect(1), w.connect(3)
	w.clock.Run(10 * time.Minute)
	pos, _ := payer.balance.GetBalance()
	_, neg := free.balance.GetBalance()
	require.InEpsilon(t, float64(50*time.Minute), float64(pos), 0.05)
	at := w.now()
	total := w.TotalTokenAmount()

	w = w.reopen(false, decaying)
	require.Equal(t, at, w.now(), "time stands still in between")
	again, _ := w.balanceOf(1)
	require.Equal(t, pos, again)
	_, debt := w.balanceOf(3)
	require.Equal(t, neg, debt)
	small, _ := w.balanceOf(2)
	require.LessOrEqual(t, small, uint64(1))
	require.InDelta(t, float64(total), float64(w.TotalTokenAmount()), 2)
}

// A crash forgets what was spent in the last five minutes, and nothing else.
func TestCrashLosesFiveMinutesOfCharges(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, hour)
	w.connect(1)
	for range 60 {
		w.clock.Run(30 * time.Second)
		crashed := w.reopen(true, nil)
		stored, _ := crashed.balanceOf(1)
		left, _ := w.balanceOf(1)
		require.GreaterOrEqual(t, stored, left)
		require.LessOrEqual(t, stored-left, uint64(5*time.Minute))
	}
}

func TestCrashNeverLosesADeposit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, nil)
		paid := make(map[int]int64)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			i := rapid.IntRange(0, 5).Draw(t, "who")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				amount := rapid.Int64Range(1, 3e6).Draw(t, "amount")
				w.pay(i, amount)
				paid[i] += amount
			case 1:
				p := w.connect(i + 100)
				p.leave()
			case 2:
				w.clock.Run(drawSpan(t, "span"))
			case 3:
				w.ask(i, 1, 0)
			}
			crashed := w.reopen(true, nil)
			var sum uint64
			for i, amount := range paid {
				stored, _ := crashed.balanceOf(i)
				require.EqualValues(t, amount, stored)
				sum += stored
			}
			require.Equal(t, sum, crashed.TotalTokenAmount())
			crashed.Stop()
		}
		w.Stop()
	})
}

// While the store fails nothing is lost, and it is written when it works again.
func TestFailingStore(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, hour)
	w.store.FailIf(func(op string) bool { return op == "batch" })
	w.pay(1, hour)
	w.pay(2, 5)
	w.store.FailIf(nil)
	w.clock.Run(5 * time.Minute)
	crashed := w.reopen(true, nil)
	pos, _ := crashed.balanceOf(1)
	require.EqualValues(t, 2*hour, pos)
	require.EqualValues(t, 2*hour+5, crashed.TotalTokenAmount())
}

// While a balance is on its way to the store the store's is out of date, and not
// read, however much else goes through memory.
func TestBalanceIsNotReadWhileItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.CacheSize = 1 })
		w.connect(1)
		w.clock.Run(time.Minute)
		w.peers[0].leave()
		_, before := w.balanceOf(1)
		require.EqualValues(t, time.Minute, before)
		release := w.store.Block()
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.clock.Run(5 * time.Minute)
		}()
		synctest.Wait() // in the middle of saving
		for i := range 5 {
			w.balanceOf(1)
			w.balanceOf(10 + i)
		}
		_, now := w.balanceOf(1)
		require.Equal(t, before, now)
		release()
		<-done
		_, now = w.balanceOf(1)
		require.Equal(t, before, now)
	})
}

// A client whose balance cannot be read has none, until it can be. Meanwhile nothing
// can be deposited, as it could not be stored.
func TestUnreadableBalance(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, hour)
	w = w.reopen(false, nil)
	w.store.FailIf(func(op string) bool { return op == "get" || op == "has" })
	p := w.connect(1)
	pos, _ := p.balance.GetBalance()
	require.Zero(t, pos)
	w.BalanceOperation(nodeID(1), "", func(b AtomicBalanceOperator) {
		_, _, err := b.AddBalance(5)
		require.ErrorIs(t, err, ErrUnreadable)
		require.ErrorIs(t, b.SetBalance(5, 5), ErrUnreadable)
	})
	w.store.FailIf(nil)
	w.clock.Run(5 * time.Minute)
	require.True(t, w.mu.clients[nodeID(1)].paying)
	pos, _ = p.balance.GetBalance()
	require.EqualValues(t, hour-int64(time.Minute), pos, "found with the save after four minutes, and charged since")
	_, err := p.set(200)
	require.NoError(t, err)
	require.EqualValues(t, 200, p.capacity)
	require.EqualValues(t, pos, w.TotalTokenAmount())
}

// A deposit does not wait for the next save to find what could not be read.
func TestDepositToBalanceThatWasUnreadable(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, hour)
	w = w.reopen(false, nil)
	w.store.FailIf(func(op string) bool { return op == "get" || op == "has" })
	w.connect(1)
	w.store.FailIf(nil)
	w.pay(1, 5)
	pos, _ := w.balanceOf(1)
	require.EqualValues(t, hour+5, pos)
	crashed := w.reopen(true, nil)
	pos, _ = crashed.balanceOf(1)
	require.EqualValues(t, hour+5, pos)
	require.EqualValues(t, hour+5, crashed.TotalTokenAmount())
}

// While the stored tokens cannot be added up, questions by strangers take no memory;
// it is tried again, and what was paid meanwhile is counted once.
func TestTotalAfterFailedScan(t *testing.T) {
	store := testutil.NewFaultyStore()
	store.FailIf(func(op string) bool { return op == "iterate" })
	w := newWorldOn(t, store, nil)
	for i := range 100 {
		w.ask(i, 0, 0)
	}
	require.Empty(t, w.mu.ledger.total.ahead)
	w.pay(1, 5)
	require.Len(t, w.mu.ledger.total.ahead, 1)
	store.FailIf(nil)
	w.clock.Run(2 * time.Minute)
	require.True(t, w.mu.ledger.total.done)
	require.EqualValues(t, 5, w.TotalTokenAmount())
}

// If the stored time of decay is lost, balances count as if of now, and the sum of
// all is not far from them.
func TestLostOffset(t *testing.T) {
	store := testutil.NewFaultyStore()
	data, err := rlp.EncodeToBytes(lespay.ExpiredValue{Base: 1e12, Exp: 5})
	require.NoError(t, err)
	require.NoError(t, store.Put([]byte(tokenKey(nodeID(1))), data))
	w := newWorldOn(t, store, func(c *Config) { c.TokenLifetime = time.Hour })
	require.EqualValues(t, 1e12, w.TotalTokenAmount())
	w.clock.Run(3 * time.Hour)
	w.pay(1, 1e12)
	pos, _ := w.balanceOf(1)
	require.Less(t, pos, uint64(2e12))
	require.InEpsilon(t, float64(pos), float64(w.TotalTokenAmount()), 0.1)
}

// Small debts go from the store, a thousand records a minute, and nothing else.
func TestSmallDebtsAreRemoved(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.DebtLifetime = time.Hour; c.CacheSize = 10 })
	for i := range 300 {
		w.owe(i, 1e7)
	}
	w.owe(1000, 1e15)
	w.pay(1000, 5)
	count := func() (n int) {
		it := w.store.Database.NewIterator([]byte(debtPrefix), nil)
		defer it.Release()
		for it.Next() {
			n++
		}
		return n
	}
	require.Equal(t, 301, count())
	w.clock.Run(2 * time.Hour)
	require.Equal(t, 301, count(), "all above the threshold")
	w.clock.Run(2 * time.Hour)
	require.LessOrEqual(t, count(), 11, "what is in the cache stays")
	_, neg := w.balanceOf(1000)
	require.NotZero(t, neg)
	pos, _ := w.balanceOf(1000)
	require.EqualValues(t, 5, pos)
}

// The sum is right from the first moment that it is returned, whatever happens
// while it is made, and stays so.
func TestTotalIsTheSumOfBalances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, nil)
		for i := range 8 {
			w.pay(i, rapid.Int64Range(0, 1e9).Draw(t, "tokens"))
		}
		w = w.reopen(false, func(c *Config) { c.CacheSize = 2 })
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			i := rapid.IntRange(0, 9).Draw(t, "who")
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				w.pay(i, rapid.Int64Range(-1e9, 1e9).Draw(t, "tokens"))
			case 1:
				w.connect(i).leave()
			case 2:
				w.clock.Run(time.Second)
			}
		}
		var sum uint64
		for i := range 10 {
			pos, _ := w.balanceOf(i)
			sum += pos
		}
		require.Equal(t, sum, w.TotalTokenAmount())
		w.Stop()
	})
}

func TestGetPosBalanceIDs(t *testing.T) {
	w := newWorld(t, nil)
	var ids []enode.ID
	for i := range 20 {
		w.pay(i, hour)
		ids = append(ids, nodeID(i))
	}
	sortIDs(ids)
	none := enode.ID{}
	require.Equal(t, ids, w.GetPosBalanceIDs(none, none, 100), "no stop is the end")
	require.Equal(t, ids[:5], w.GetPosBalanceIDs(none, none, 5))
	require.Equal(t, ids[3:8], w.GetPosBalanceIDs(ids[3], ids[8], 100))
	require.Empty(t, w.GetPosBalanceIDs(none, none, 0))
	w.pay(3, -2*hour)
	require.Len(t, w.GetPosBalanceIDs(none, none, 100), 19)
}
