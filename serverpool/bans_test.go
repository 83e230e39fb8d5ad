package serverpool

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lespool/lespool/internal/testutil"
)

// The rules of bans, on times that are made up.

const newYear = 946684800 // 2000-01-01, in unix seconds

// after is the moment so long after the start of these tests.
func after(d time.Duration) moment {
	return moment{newYear + int64(d/time.Second), mclock.AbsTime(time.Hour + d)}
}

func (b ban) length() time.Duration { return time.Duration(b.end-b.start) * time.Second }

func TestBansGetLongerAndForgive(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name string
		at   []time.Duration // of bans of an hour each
		last time.Duration   // the length of the last one
	}{
		{"the first", []time.Duration{0}, time.Hour},
		{"the second at once", []time.Duration{0, time.Hour}, 2 * time.Hour},
		{"the third at once", []time.Duration{0, time.Hour, 3 * time.Hour}, 3 * time.Hour},
		{"a week after the end", []time.Duration{0, time.Hour + 7*day}, time.Hour * 3 / 2},
		{"two weeks after the end", []time.Duration{0, time.Hour + 14*day}, time.Hour * 5 / 4},
		{"while banned, until later", []time.Duration{0, 30 * time.Minute}, time.Hour},
		{"at once after one that was prolonged", []time.Duration{0, 30 * time.Minute, 90 * time.Minute}, 2 * time.Hour},
	} {
		bs := newBans(nil)
		var b ban
		for _, at := range c.at {
			b = bs.add(idOf(1), time.Hour, "", after(at))
		}
		require.InDelta(t, c.last, b.length(), float64(time.Second), c.name)
	}
}

func TestBanWhileBannedNeverEndsSooner(t *testing.T) {
	bs := newBans(nil)
	long := bs.add(idOf(1), time.Hour, "long", after(0))
	again := bs.add(idOf(1), time.Minute, "short", after(time.Minute))
	require.Equal(t, long, again)
	b, ok := bs.active(idOf(1), after(59*time.Minute).mono)
	require.True(t, ok)
	require.Equal(t, "long", b.reason)
	_, ok = bs.active(idOf(1), after(time.Hour).mono)
	require.False(t, ok, "it ends by itself")
}

func TestBansAreForgottenInTime(t *testing.T) {
	bs := newBans(nil)
	bs.add(idOf(1), time.Hour, "", after(0))
	bs.expire(after(time.Hour + 3*banHalfLife - time.Minute))
	require.Equal(t, 1, bs.len())
	bs.expire(after(time.Hour + 3*banHalfLife + time.Minute))
	require.Zero(t, bs.len())
	bs.add(idOf(1), 365*24*time.Hour, "", after(0))
	bs.expire(after(364 * 24 * time.Hour))
	require.Equal(t, 1, bs.len(), "not before it has ended")
}

// The one that ends first makes room, whenever it was set.
func TestBansAreBounded(t *testing.T) {
	bs := newBans(nil)
	var first uint64 // to end
	for i := range uint64(maxBans) {
		minutes := (i*7919 + 500) % maxBans // all different
		bs.add(idOf(i), time.Hour+time.Duration(minutes)*time.Minute, "", after(0))
		if minutes == 0 {
			first = i
		}
	}
	bs.add(idOf(5), 2*time.Hour, "again", after(time.Minute))
	require.Equal(t, maxBans, bs.len())
	bs.add(idOf(maxBans), time.Minute, "", after(2*time.Minute))
	require.Equal(t, maxBans, bs.len())
	_, ok := bs.get(idOf(first))
	require.False(t, ok)
	_, ok = bs.get(idOf(maxBans))
	require.True(t, ok, "the new one is there, though it ends before all others")
}

func TestBanBytes(t *testing.T) {
	bs := newBans([]byte("key/"))
	bs.add(idOf(1), 90*time.Second, "spam", after(0))
	changes := bs.takeDirty()
	require.Len(t, changes, 1)
	id := idOf(1)
	require.Equal(t, "key/x:b:"+string(id[:]), string(changes[0].key))
	want := unhex(t, "d3 01 84 386d4380 84 386d43da 82 03e8 84") // version, start, end, 1000 thousandths, text
	require.Equal(t, append(want, "spam"...), changes[0].value, "%x", changes[0].value)
}

func TestDamagedBans(t *testing.T) {
	good := storedBan{1, newYear, newYear + 100, 1000, "spam"}
	_, err := decodeBan(encode(t, &good), after(0))
	require.NoError(t, err)
	for name, damage := range map[string]func(*storedBan){
		"version":        func(b *storedBan) { b.Version = 2 },
		"ends too early": func(b *storedBan) { b.End = b.Start - 1 },
		"too long":       func(b *storedBan) { b.End = b.Start + uint64(maxBan/time.Second) + 1 },
		"no such time":   func(b *storedBan) { b.Start, b.End = 1<<63, 1<<63+1 },
		"too strong":     func(b *storedBan) { b.Strength = math.MaxUint64 },
		"long text":      func(b *storedBan) { b.Reason = strings.Repeat("x", maxText+1) },
		"no text":        func(b *storedBan) { b.Reason = "\xff" },
	} {
		bad := good
		damage(&bad)
		_, err := decodeBan(encode(t, &bad), after(0))
		require.Error(t, err, name)
	}
	for _, raw := range [][]byte{nil, []byte("rubbish"), encode(t, []uint64{1}), append(encode(t, &good), 0)} {
		_, err := decodeBan(raw, after(0))
		require.Error(t, err)
	}
}

// However the wall clock moves between two runs, and however often, no ban
// lasts longer than planned by any run's own clock after the first restart, and
// a clock that stays wrong does not start it anew each time.
func TestClocksMakeNoBanLonger(t *testing.T) {
	db := testutil.NewFaultyStore()
	bs := newBans(nil)
	ahead := moment{newYear + 365*86400, 0} // a clock that was a year ahead
	bs.add(idOf(1), time.Hour, "", ahead)
	require.NoError(t, writeChanges(db, bs.takeDirty()))
	elapsed := time.Duration(0) // since the clock was mended
	for range 10 {
		bs = newBans(nil)
		now := moment{newYear + int64(elapsed/time.Second), mclock.AbsTime(5 * time.Hour)} // uptime says nothing
		_, err := bs.load(db, now)
		require.NoError(t, err)
		b, ok := bs.active(idOf(1), now.mono)
		if elapsed >= time.Hour {
			require.False(t, ok)
			continue
		}
		require.True(t, ok)
		require.Equal(t, time.Hour-elapsed, b.until.Sub(now.mono))
		require.NoError(t, writeChanges(db, bs.takeDirty()))
		elapsed += 10 * time.Minute
	}
	// Forward, it ends early and comes back when the clock does.
	bs = newBans(nil)
	bs.add(idOf(2), time.Hour, "", after(0))
	require.NoError(t, writeChanges(db, bs.takeDirty()))
	for unix, want := range map[int64]bool{newYear + 1<<30: false, newYear + 60: true} {
		bs = newBans(nil)
		_, err := bs.load(db, moment{unix, 0})
		require.NoError(t, err)
		_, ok := bs.active(idOf(2), 0)
		require.Equal(t, want, ok)
	}
}

// Whatever is banned, for how long and when: never longer than a year, never
// shorter than asked for if that is less, and stored as it is.
func TestBansAreSaneForAllInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bs, db := newBans(nil), testutil.NewFaultyStore()
		now := moment{rapid.Int64Range(0, 1<<39).Draw(t, "unix"), mclock.AbsTime(rapid.Int64Range(0, 1<<60).Draw(t, "mono"))}
		for range rapid.IntRange(1, 20).Draw(t, "bans") {
			d := time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "d"))
			b := bs.add(idOf(1), d, rapid.String().Draw(t, "reason"), now)
			left := b.until.Sub(now.mono)
			if left < min(d, maxBan) || left > maxBan || b.strength < 1 || b.strength > maxStrength {
				t.Fatalf("%v left of %v, strength %v", left, d, b.strength)
			}
			if len(b.reason) > maxText || !utf8.ValidString(b.reason) {
				t.Fatalf("reason %q", b.reason)
			}
			step := rapid.Int64Range(0, 1<<25).Draw(t, "step")
			now = moment{now.unix + step, now.mono.Add(time.Duration(step) * time.Second)}
		}
		before, _ := bs.get(idOf(1))
		if err := writeChanges(db, bs.takeDirty()); err != nil {
			t.Fatal(err)
		}
		again := newBans(nil)
		if bad, err := again.load(db, now); bad != 0 || err != nil {
			t.Fatalf("%d bad, %v", bad, err)
		}
		got, _ := again.get(idOf(1))
		if got.start != before.start || got.end != before.end || got.reason != before.reason ||
			math.Abs(got.strength-before.strength) > 0.001 || max(got.until, now.mono) != max(before.until, now.mono) {
			t.Fatalf("%+v, was %+v", got, before)
		}
	})
}

func FuzzBan(f *testing.F) {
	f.Add(encode(f, &storedBan{1, newYear, newYear + 100, 1500, "spam"}), int64(newYear+50))
	f.Add(encode(f, &storedBan{1, 0, 0, 0, ""}), int64(-1))
	f.Fuzz(func(t *testing.T, value []byte, unix int64) {
		now := moment{unix, mclock.AbsTime(time.Hour)}
		b, err := decodeBan(value, now)
		if err != nil {
			return
		}
		require.LessOrEqual(t, b.until, now.mono.Add(maxBan))
		require.GreaterOrEqual(t, b.strengthAt(unix), 0.)
		require.LessOrEqual(t, b.strengthAt(unix), float64(maxStrength))
		again, err := decodeBan(encode(t, b.stored()), now)
		require.NoError(t, err)
		require.Equal(t, b, again)
		bs := newBans(nil)
		bs.put(enode.ID{}, b)
		next := bs.add(enode.ID{}, time.Hour, "", now)
		require.Greater(t, next.until, now.mono)
	})
}
