package serverpool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/lespay"
	"github.com/lespool/lespool/nodestate"
)

// Errors of the pool's methods.
var (
	ErrNotStarted = errors.New("serverpool: not started")
	ErrClosed     = errors.New("serverpool: closed")
	ErrNoNode     = errors.New("serverpool: nil node")
)

// Rates at which a light client's statistics move, see package lespay.
const (
	updatePeriod   = time.Minute
	transferRate   = 1 / float64(time.Hour)
	statsExpRate   = 1 / (100 * float64(time.Hour))
	offlineExpRate = 1 / (1000 * float64(time.Hour))
)

// persistInterval is the most that passes until a change is on disk. More
// makes fewer writes, less loses less in a crash.
const persistInterval = 10 * time.Second

// stopPatience is how long Stop waits for functions of the caller.
const stopPatience = 500 * time.Millisecond

// ServerPool chooses which servers to dial. The package comment tells how. Its
// methods are safe for concurrent use; AddSource and AddMetrics precede Start.
type ServerPool struct {
	cfg        Config
	clock      mclock.Clock
	log        log.Logger
	store      Store
	closeStore func() error
	delivery   *delivery // of events

	st      *states
	ns      *nodestate.NodeStateMachine
	values  *lespay.ValueTracker
	known   *WrsIterator   // known servers that may be tried
	trusted *QueueIterator // trusted servers that may be tried
	mix     *mix           // of these and the discovery sources
	fill    *FillSet       // takes candidates from mix as needed
	direct  *FillSet       // takes trusted servers past the queries; nil without these
	ready   *QueueIterator // candidates to be given out
	output  *output

	// ask asks a node, without waiting for the answer. Nil if none are asked.
	ask func(ctx context.Context, n *enode.Node, answered func(Answer))

	ctx        context.Context // of queries
	cancel     context.CancelFunc
	started    chan struct{}
	startOnce  sync.Once
	stopOnce   sync.Once
	stopping   atomic.Bool
	hasDialer  atomic.Bool
	sources    atomic.Int32   // added so far
	calls      group          // of the application's functions
	timers     sync.WaitGroup // of housekeep, armed or running
	registerMu sync.Mutex     // held while the pool or a node's session begins or ends, before all other locks
	ledgers    []anyLedger    // all of them; guarded by mu but for the slice
	ledgerIO   sync.Mutex     // held while ledgers are written, before mu

	// mu may be taken in callbacks of the state machine, and nothing that
	// starts an operation is called with it held.
	mu struct {
		sync.Mutex
		rnd           *rand.Rand
		netCap        *netCap
		memory        *memory
		bans          *bans
		trusted       []*enode.Node // as the application says
		notes         *notes
		acquaintances *recent[struct{}]
		limit         queryLimit
		bucket        tokenBucket // of candidates
		search        tokenBucket // of those that are to replace a server
		mutes         tokenBucket // of dials of servers that take no queries
		blind         tokenBucket // of servers dropped with no other one at hand
		conducts      *ledger[conduct]
		strangers     strangers
		path4         path
		path6         path
		patience      patience
		ownNet        ownNetwork
		needed        bool           // somebody waits for a candidate
		sayNo         int            // servers that were heard to say no, in this run
		lastGiven     mclock.AbsTime // when a candidate was given out
		hadEnough     bool           // servers connected at some time
		shortSince    mclock.AbsTime // when there were too few servers for the first time after there were enough
		lastUsable    mclock.AbsTime // when there was no lack of candidates, see floor.go
		queries       map[enode.ID]*pendingQuery
		calls         int // of Query that have not returned
		dials         map[enode.ID]*dial
		sessions      map[enode.ID]*session
		timeout       timeoutState
		replacing     replacing
		counts        counts
		metrics       metrics
		tick          mclock.Timer
		ticks         int

		lastStatus *Status // once stopped
	}
}

// New makes a pool. It does nothing until Start, but a pool with a database of
// its own has opened it, so Stop has to be called in any case.
func New(config Config) (*ServerPool, error) {
	p, err := newPool(config)
	if err != nil {
		return nil, err
	}
	if config.Query != nil {
		p.ask = p.askInBackground
	}
	p.wire()
	return p, nil
}

// newPool makes a pool without its moving parts.
func newPool(config Config) (*ServerPool, error) {
	cfg, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	store, closeStore, err := openStore(&cfg)
	if err != nil {
		return nil, err
	}
	values, err := lespay.NewValueTracker(lespay.Config{
		Store:                 store,
		Prefix:                cfg.TrackerKey,
		Clock:                 cfg.Clock,
		WallClock:             cfg.WallClock,
		Requests:              cfg.Requests,
		UpdatePeriod:          updatePeriod,
		TransferRate:          transferRate,
		StatsExpirationRate:   statsExpRate,
		OfflineExpirationRate: offlineExpRate,
	})
	if err != nil {
		closeStore()
		return nil, err
	}
	p := &ServerPool{
		cfg:        cfg,
		clock:      cfg.Clock,
		log:        cfg.Log,
		store:      store,
		closeStore: closeStore,
		st:         newStates(),
		values:     values,
		started:    make(chan struct{}),
	}
	p.delivery = newDelivery(cfg.Log, p.calls.run)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.mu.rnd = rand.New(rand.NewPCG(cfg.Seed, 0))
	p.mu.netCap = newNetCap(cfg.NetCap)
	p.mu.memory = newMemory(cfg.DBKey, cfg.Remember)
	p.mu.bans = newBans(cfg.DBKey)
	p.mu.conducts = newLedger(conductKind, cfg.DBKey, cfg.Remember)
	p.mu.replacing.given = newRecent[float64](cfg.Remember, nil)
	p.ledgers = []anyLedger{p.mu.memory, p.mu.bans, p.mu.conducts}
	p.mu.trusted = p.trustedNodes()
	p.mu.notes = newNotes()
	p.mu.acquaintances = newRecent[struct{}](maxAcquaintances, nil)
	p.mu.bucket = newTokenBucket(cfg.QueryRate, cfg.QueryBurst)
	p.mu.search = newTokenBucket(searchRate, searchBurst)
	p.mu.mutes = newTokenBucket(muteDials, muteBurst)
	p.mu.blind = newTokenBucket(blindRate, 1)
	p.mu.queries = make(map[enode.ID]*pendingQuery)
	p.mu.dials = make(map[enode.ID]*dial)
	p.mu.sessions = make(map[enode.ID]*session)
	p.mu.counts = newCounts()
	p.loadLedgers()
	return p, nil
}

// wire makes the state machine, its subscriptions and the iterators.
func (p *ServerPool) wire() {
	st := p.st
	p.ns = nodestate.New(st.setup, nodestate.Config{
		Store:         p.store,
		Prefix:        p.machinePrefix(),
		Clock:         p.clock,
		FlushInterval: persistInterval,
		Log:           p.log,
	})
	for _, sub := range []struct {
		flags  nodestate.Flags
		handle nodestate.StateCallback
	}{
		{st.hasValue, p.onLoaded},
		{st.inDialProcess, p.onQuery},
		{st.inDialProcess, p.onCanDial},
		{nodestate.MergeFlags(st.dialed, st.dialTimeout), p.onDialTimeout},
		{st.dialed, p.onDialed},
		{st.underWay, p.onUnderWay},
	} {
		p.subscribe(sub.flags, sub.handle)
	}
	// Before the fill sets, which then know that no other candidate is needed when one
	// has said yes.
	p.ready = NewQueueIterator(p.ns, st.canDial, nodestate.MergeFlags(st.dialed, st.connected, st.redialWait), true, p.setNeeded)
	p.known = newWrsIterator(p.ns, st.hasValue, st.inDialProcess, st.weight, rand.New(rand.NewPCG(p.cfg.Seed, 1)))
	p.trusted = NewQueueIterator(p.ns, st.alwaysConnect, st.inDialProcess, true, nil)
	first := picker(p.trusted)
	if p.ask != nil {
		// Trusted servers are not queried, so they don't wait behind queries.
		first = nobody{}
		p.direct = newFillSet(p.ns, picked{p.trusted}, st.canDial, &p.calls, p.admit)
	}
	met := newWrsIterator(p.ns, st.acquainted, nodestate.MergeFlags(st.inDialProcess, st.hasValue, st.alwaysConnect, st.resting),
		st.nearness, rand.New(rand.NewPCG(p.cfg.Seed, 2)))
	p.mix = newMix(first, p.known, acquaintances{met, p})
	p.fill = newFillSet(p.ns, p.mix, p.candidateFlag(), &p.calls, p.admit)
	p.fill.pause = p.queryPause
	p.known.filled, p.trusted.filled, met.filled = p.fill.wake, p.fill.wake, p.fill.wake
	if p.direct != nil {
		p.trusted.filled = p.direct.wake
	}
	p.output = newOutput(p)
}

// machinePrefix stands before a node's id in the keys of the state machine.
func (p *ServerPool) machinePrefix() []byte { return slices.Concat(p.cfg.DBKey, []byte("ns:")) }

// subscribe has handle called for changes of the flags, but not at shutdown,
// when they only seem to be reset.
func (p *ServerPool) subscribe(flags nodestate.Flags, handle nodestate.StateCallback) {
	p.ns.SubscribeState(flags.Or(p.st.offline), func(op nodestate.Op, n *enode.Node, oldState, newState nodestate.Flags) {
		if newState.HasNone(p.st.offline) {
			handle(op, n, oldState, newState)
		}
	})
}

// candidateFlag is the flag that an ordinary candidate gets first.
func (p *ServerPool) candidateFlag() nodestate.Flags {
	if p.ask == nil {
		return p.st.canDial
	}
	return p.st.query
}

// Iterator returns the nodes to dial next, for p2p.Protocol.DialCandidates. It
// is one and the same at every call. Its Next waits until the pool is started
// and has a candidate, and returns false only after Close or Stop. Closing it
// ends the search: sources are closed too.
func (p *ServerPool) Iterator() enode.Iterator { return p.output }

// AddSource adds a source of discovered nodes, which the pool owns from then
// on. A nil source is ignored. A source should wait when it has nothing new;
// one that blocks delays no other.
func (p *ServerPool) AddSource(source enode.Iterator) {
	if !isNil(source) {
		name := fmt.Sprintf("source %d", p.sources.Add(1))
		p.mix.add(newFeed(source, name, &p.calls, p.log, p.fill.wake))
	}
}

// Start begins the search for servers. Further calls, and calls after Stop, do
// nothing.
func (p *ServerPool) Start() {
	p.startOnce.Do(func() {
		p.registerMu.Lock()
		defer p.registerMu.Unlock()
		if p.stopping.Load() {
			return
		}
		if err := p.ns.Start(); errors.Is(err, nodestate.ErrClosed) {
			return
		} // any other error was logged, and the machine runs
		p.ns.Operation(p.addTrusted)
		p.mix.start()
		p.mu.Lock()
		now := p.clock.Now()
		p.mu.lastUsable, p.mu.shortSince, p.mu.lastGiven = now, now, now
		p.mu.blind.delay(now, blindStart)
		p.setTickLocked()
		p.setChooseTimerLocked()
		p.mu.Unlock()
		close(p.started)
	})
}

// isStarted tells whether Start has ended.
func (p *ServerPool) isStarted() bool {
	select {
	case <-p.started:
		return true
	default:
		return false
	}
}

// Stop ends the search, saves everything and closes what the pool has opened.
// It returns within a second, whatever sources and queries do: goroutines
// inside these end when they return. Further calls wait for the first one.
func (p *ServerPool) Stop() {
	p.stopOnce.Do(func() {
		p.registerMu.Lock()
		p.stopping.Store(true)
		p.registerMu.Unlock()
		p.cancel()
		p.output.Close()
		p.stopHousekeeping()
		p.ns.Operation(p.updateConnected)
		last := p.Status()
		p.mu.Lock()
		p.mu.lastStatus = &last
		p.mu.Unlock()
		p.ns.Stop()
		p.flushLedgers()
		p.values.Stop()
		if err := p.closeStore(); err != nil {
			p.log.Error("Database could not be closed", "err", err)
		}
		p.delivery.close(false)
		if p.calls.later != nil {
			p.delivery.deliver()
		} else if !p.calls.wait(stopPatience) {
			p.log.Warn("A function of the application has not returned; its goroutine is left behind")
		}
		p.delivery.close(true)
	})
}

// Persist stores what is known of a node at once, and its record if that is
// newer than the one known. Unknown nodes are ignored.
func (p *ServerPool) Persist(n *enode.Node) {
	err := p.ns.Persist(n)
	if err != nil && !errors.Is(err, nodestate.ErrClosed) && !errors.Is(err, nodestate.ErrNotStarted) {
		p.log.Error("Node could not be saved", "err", err)
	}
}

func (p *ServerPool) unixNow() int64 { return p.cfg.WallClock().Unix() }
