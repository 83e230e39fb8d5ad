package serverpool

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/lespay"
	"github.com/lespool/lespool/nodestate"
)

// Config holds the parameters of a pool. Only Requests has to be given.
type Config struct {
	// Requests are the kinds of requests that the application makes, with the
	// amounts and values that are assumed before there is experience. At least
	// one; names differ; amounts and values are finite, not negative and not
	// all zero.
	Requests []RequestInfo

	// Path is the directory of a LevelDB of the pool's own, which is made if
	// needed, and closed by Stop. Default empty: none. Exclusive with Store.
	Path string
	// Store keeps what the pool learns. Default nil: it is kept in memory, for
	// the life of the pool, unless Path is given.
	Store Store
	// DBKey stands before the keys of the pool's own entries. Default empty.
	DBKey []byte
	// TrackerKey stands before the keys of the service values. Default empty,
	// as in the databases of existing clients; two pools that share a store
	// need different ones.
	TrackerKey []byte

	// Trusted lists enode or enr URLs of servers that are always wanted. One
	// that does not parse is logged and skipped.
	Trusted []string
	// Wanted is how many servers the application would like to have. While
	// fewer are under way the network cap may widen. Default (0): 5.
	Wanted int

	// Query asks a server whether it has room for us. It is called on
	// goroutines of its own, several at a time, and should return when its
	// context ends, after 5 seconds at the latest; what it says later is
	// ignored. Default nil: servers are dialed unasked.
	Query func(ctx context.Context, n *enode.Node) Answer
	// QueryRate is how many queries are made per second on average; more find
	// servers sooner, fewer spare the network. Default (0): 20. Negative: no
	// bound.
	QueryRate float64
	// QueryBurst is how many queries may be made at once after a quiet time.
	// Default (0): 200.
	QueryBurst int

	// Accept is asked for every candidate of every source, known and trusted
	// ones too, each time before it is given out; an error turns the node away.
	// It should not take long, since candidates wait for it one after the other.
	// Default nil: all are accepted.
	Accept func(*enode.Node) error
	// NetCap is how many nodes of one /24 (IPv4) or /48 (IPv6) network may be
	// queried, dialed or connected at once, beside trusted ones. Loopback and
	// local addresses are exempt. More finds servers sooner where many share a
	// network, fewer makes it harder to become all of our servers. Default (0):
	// 2. Negative: no bound.
	NetCap int
	// MinRedial is the least time between two dials of a node. It should not be
	// below the dial history of the p2p server, which drops earlier ones.
	// Default (0): 40 seconds.
	MinRedial time.Duration
	// Remember is how many nodes without value the pool remembers, the latest
	// ones. Default (0): 10,000.
	Remember int

	// Disconnect asks the application to end the connection to a server, for the
	// given reason. With it the pool replaces servers by better ones as soon as
	// there is evidence (see choose.go): one at a time, when a candidate is at
	// hand and at least Wanted servers are connected, and never a trusted one.
	// Banned servers are asked to go at once, and again once a minute. It is
	// called on a goroutine of its own and may call any method but Stop.
	// Default nil: servers are kept as long as they stay.
	Disconnect func(n *enode.Node, reason error)

	// Events are functions that are told what the pool does. Default: none.
	Events Events

	// Clock drives waits and statistics. Default nil: mclock.System.
	Clock mclock.Clock
	// WallClock dates what is stored. Default nil: time.Now.
	WallClock func() time.Time
	// Seed makes random choices repeatable. Default (0): a random one.
	Seed uint64
	// Log receives the pool's messages. Default nil: the root logger.
	Log log.Logger
}

// Answer is what a capacity query comes to. The values are in the order of
// those of package udpquery, so that one converts to the other.
type Answer int

const (
	// Silent means that no answer came.
	Silent Answer = iota
	// No means that the server has no room now.
	No
	// Yes means that the server promises room.
	Yes
	// Unasked means that the server takes no queries, so that only a dial can
	// tell. It promises nothing.
	Unasked
)

// String returns the name of the answer.
func (a Answer) String() string {
	if names := []string{"silent", "no", "yes", "unasked"}; a >= 0 && int(a) < len(names) {
		return names[a]
	}
	return fmt.Sprintf("Answer(%d)", int(a))
}

// Store is what the pool needs of a database. Every key-value store of
// go-ethereum fits.
type Store = nodestate.Store

// Names of package lespay, so that one import serves an application.
type (
	RequestInfo      = lespay.RequestInfo
	ServedRequest    = lespay.ServedRequest
	NodeValueTracker = lespay.NodeValueTracker
)

const (
	defaultWanted     = 5
	defaultNetCap     = 2
	defaultQueryRate  = 20
	defaultQueryBurst = 200
	defaultMinRedial  = 40 * time.Second
	defaultRemember   = 10000
)

// withDefaults returns a copy of the configuration that is valid and complete.
func (c Config) withDefaults() (Config, error) {
	if isNil(c.Store) {
		c.Store = nil
	}
	if err := c.validate(); err != nil {
		return c, err
	}
	c.Requests = slices.Clone(c.Requests)
	c.DBKey, c.TrackerKey = slices.Clone(c.DBKey), slices.Clone(c.TrackerKey)
	setDefault(&c.Wanted, defaultWanted)
	setDefault(&c.QueryRate, defaultQueryRate)
	setDefault(&c.QueryBurst, defaultQueryBurst)
	setDefault(&c.NetCap, defaultNetCap)
	setDefault(&c.MinRedial, defaultMinRedial)
	setDefault(&c.Remember, defaultRemember)
	if c.NetCap < 0 {
		c.NetCap = noNetCap
	}
	if isNil(c.Clock) {
		c.Clock = mclock.System{}
	}
	if c.WallClock == nil {
		c.WallClock = time.Now
	}
	if c.Log == nil {
		c.Log = log.Root()
	}
	for c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) validate() error {
	switch {
	case c.Path != "" && c.Store != nil:
		return fmt.Errorf("serverpool: Config.Path and Config.Store are both given")
	case len(c.Requests) == 0:
		return fmt.Errorf("serverpool: Config.Requests is empty")
	case c.Wanted < 0:
		return fmt.Errorf("serverpool: Config.Wanted is %d, below 0", c.Wanted)
	case math.IsNaN(c.QueryRate) || math.IsInf(c.QueryRate, 0):
		return fmt.Errorf("serverpool: Config.QueryRate is %v", c.QueryRate)
	case c.QueryBurst < 0:
		return fmt.Errorf("serverpool: Config.QueryBurst is %d, below 0", c.QueryBurst)
	case c.MinRedial < 0:
		return fmt.Errorf("serverpool: Config.MinRedial is %v, below 0", c.MinRedial)
	case c.Remember < 0:
		return fmt.Errorf("serverpool: Config.Remember is %d, below 0", c.Remember)
	}
	return nil
}

// isNil tells whether v is nil or holds a nil pointer.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	rv := reflect.ValueOf(v)
	return rv.Kind() == reflect.Pointer && rv.IsNil()
}
