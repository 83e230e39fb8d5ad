package lespay

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
)

// Config is what [NewValueTracker] needs. Only Requests has no default.
type Config struct {
	// Store keeps the statistics over restarts. Nil means memory: servers that
	// are not connected are remembered, and bounded, in the same way, until the
	// process ends.
	Store Store
	// Prefix is put before the keys "vt:" and "vtNode:"‖id, so that several
	// trackers can share a store. The default, none, is where existing light
	// clients have their statistics.
	Prefix []byte

	// Clock measures time and runs the periodic update. Nil means the system's
	// monotonic clock.
	Clock mclock.Clock
	// WallClock tells how long the client was off. It may jump. Nil means
	// time.Now.
	WallClock func() time.Time

	// Requests lists the types of request; what is counted refers to them by
	// index. It may change between runs: stored amounts are matched by name.
	// There has to be at least one, names are unique, no number is negative,
	// NaN or infinite, and Σ InitAmount·InitValue is above 0.
	Requests []RequestInfo

	// UpdatePeriod is the time between updates and saves. A longer one costs
	// less, and a crash loses more. Default (0): 1 minute.
	UpdatePeriod time.Duration
	// TransferRate is the speed at which what servers were used for becomes the
	// common reference, as 1 / time constant in ns. A higher one follows a
	// changed use sooner, and gives the prices of a single server more say.
	// Default (0): 1/hour.
	TransferRate float64
	// StatsExpirationRate is the speed at which statistics decay while the
	// tracker runs, as 1 / time constant in ns. A higher one forgets sooner,
	// the good and the bad. Default (0): 1/(100 hours).
	StatsExpirationRate float64
	// OfflineExpirationRate is the same for the time between Stop and start.
	// Default (0): 1/(1000 hours).
	OfflineExpirationRate float64
	// MaxOffline is the longest time between two runs that is believed: beyond
	// it, the wall clock rather than the client is taken to have been away. A
	// longer one lets a clock that jumps destroy more; a shorter one lets
	// statistics outlive a long absence. Default (0): 60 days, which at the
	// default rate leaves a quarter of every value.
	MaxOffline time.Duration

	// CacheSize is how many servers that are not registered are kept ready in
	// memory, about 1 kB each. More save reads. Default (0): 1000.
	CacheSize int
	// MaxStored is how many servers are stored. Above it those worth least go,
	// never a registered one. More remember servers that were of little use,
	// for some 100 bytes of memory and 200 of the store each. Default (0):
	// 10000.
	MaxStored int
}

// withDefaults checks the config and returns a copy of it that is complete and
// shares nothing with the caller.
func (c Config) withDefaults() (Config, error) {
	if c.Clock == nil {
		c.Clock = mclock.System{}
	}
	if c.WallClock == nil {
		c.WallClock = time.Now
	}
	c.Prefix = bytes.Clone(c.Prefix)
	c.Requests = slices.Clone(c.Requests)
	if err := checkRequests(c.Requests); err != nil {
		return c, err
	}
	for _, d := range []struct {
		name  string
		field *time.Duration
		value time.Duration
	}{
		{"UpdatePeriod", &c.UpdatePeriod, time.Minute},
		{"MaxOffline", &c.MaxOffline, 60 * 24 * time.Hour},
	} {
		if *d.field < 0 {
			return c, fmt.Errorf("lespay: Config.%s: %v is negative", d.name, *d.field)
		}
		setDefault(d.field, d.value)
	}
	for _, r := range []struct {
		name  string
		field *float64
		time  time.Duration
	}{
		{"TransferRate", &c.TransferRate, time.Hour},
		{"StatsExpirationRate", &c.StatsExpirationRate, 100 * time.Hour},
		{"OfflineExpirationRate", &c.OfflineExpirationRate, 1000 * time.Hour},
	} {
		if !(*r.field >= 0) || math.IsInf(*r.field, 1) {
			return c, fmt.Errorf("lespay: Config.%s: %v is not a finite number ≥ 0", r.name, *r.field)
		}
		setDefault(r.field, 1/float64(r.time))
	}
	for _, n := range []struct {
		name  string
		field *int
		value int
	}{
		{"CacheSize", &c.CacheSize, 1000},
		{"MaxStored", &c.MaxStored, 10000},
	} {
		if *n.field < 0 {
			return c, fmt.Errorf("lespay: Config.%s: %d is negative", n.name, *n.field)
		}
		setDefault(n.field, n.value)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
