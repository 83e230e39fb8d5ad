package nodestate_test

import (
	"errors"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	. "github.com/lespool/lespool/nodestate"
)

// Two thousand goroutines write and read at once, timeouts come, and Stop in the
// middle of it. Whatever getters saw, they could have seen each change take
// effect at one moment between the begin and the end of its call, in the order in
// which subscribers were told of the changes: nobody read what was not written
// yet, what was overwritten before he began to read, or something older than
// what was read before he began.
func TestGettersAgreeOnAnOrder(t *testing.T) {
	const nodes, writers, readers = 4, 1000, 1000
	w := layNumbers(t, nodes)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { w.write(t, uint64(i%nodes)) })
	}
	for i := range readers {
		wg.Go(func() { w.read(uint64(i % nodes)) })
	}
	wg.Go(func() {
		for !w.stopped.Load() {
			w.table.clock.Run(time.Millisecond)
			runtime.Gosched()
		}
	})
	wg.Go(w.stop)
	within(t, "all callers", wg.Wait)
	for i := range nodes {
		for _, h := range []*history{&w.states[i], &w.fields[i]} {
			require.NoError(t, h.check(), "node %d", i)
			require.Greater(t, len(h.writes), 100)
			require.Greater(t, len(h.reads), 10_000)
		}
	}
}

// The checker finds each kind of disorder.
func TestOrderChecker(t *testing.T) {
	check := func(reads ...access) error {
		h := history{order: []uint64{1, 2}, writes: map[uint64]access{1: {1, 10, 20}, 2: {2, 30, 40}}, reads: reads}
		return h.check()
	}
	require.NoError(t, check(access{1, 12, 35}))
	require.NoError(t, check(access{2, 31, 32}))
	require.NoError(t, check(access{1, 35, 38}, access{2, 35, 36}), "two who read at the same time")
	require.ErrorIs(t, check(access{7, 45, 46}), errNeverWritten)
	require.ErrorIs(t, check(access{2, 5, 25}), errTooEarly)
	require.ErrorIs(t, check(access{1, 45, 46}), errOverwritten)
	require.ErrorIs(t, check(access{1, 37, 38}, access{2, 35, 36}), errWentBack)
}

// numbers is a machine on a table with nodes whose states and fields are numbers,
// written and read by many. A number is written once. As a state it is in binary,
// with a flag for each digit.
type numbers struct {
	*table
	digits  [12]Flags
	all     Flags // the digits
	keep    Flags // so that nodes stay
	brief   Flags // always with a timeout
	field   Field[uint64]
	moments atomic.Uint64
	written atomic.Uint64
	stopped atomic.Bool

	lastState, lastField []atomic.Uint64 // numbers given out, for each node
	states, fields       []history
}

func layNumbers(t *testing.T, nodes int) *numbers {
	setup := new(Setup)
	w := &numbers{
		keep: setup.NewFlag("keep"), brief: setup.NewFlag("brief"),
		field:     NewField[uint64](setup, "field"),
		lastState: make([]atomic.Uint64, nodes), lastField: make([]atomic.Uint64, nodes),
		states: make([]history, nodes), fields: make([]history, nodes),
	}
	for i := range w.digits {
		w.digits[i] = setup.NewFlag(strconv.Itoa(1 << i))
		w.all = w.all.Or(w.digits[i])
	}
	w.table = lay(t, setup, Config{})
	w.SubscribeState(w.all, func(_ Op, n *enode.Node, _, to Flags) { w.states[numberOf(n)].tell(w.number(to)) })
	w.field.Subscribe(w.NodeStateMachine, func(_ Op, n *enode.Node, _ Flags, _, to Value[uint64]) {
		w.fields[numberOf(n)].tell(to.V)
	})
	require.NoError(t, w.Start())
	for i := range uint64(nodes) {
		require.NoError(t, w.SetState(node(i), w.keep, none, 0))
		require.NoError(t, w.writeState(i))
		require.NoError(t, w.writeField(i))
	}
	return w
}

// indexOf is the inverse of node.
func numberOf(n *enode.Node) int {
	id := n.ID()
	return int(id[31])
}

func (w *numbers) number(state Flags) (v uint64) {
	for i, digit := range w.digits {
		if state.HasAll(digit) {
			v |= 1 << i
		}
	}
	return v
}

func (w *numbers) flags(v uint64) (set Flags) {
	for i, digit := range w.digits {
		if v>>i&1 != 0 {
			set = set.Or(digit)
		}
	}
	return set
}

const rounds = 14 // in all less numbers than there are digits for

func (w *numbers) write(t *testing.T, i uint64) {
	for range rounds {
		err := errors.Join(w.writeState(i), w.writeField(i), w.SetState(node(i), w.brief, none, time.Millisecond))
		if errors.Is(err, ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
		}
		w.written.Add(1)
	}
}

func (w *numbers) writeState(i uint64) error {
	v := w.lastState[i].Add(1)
	set := w.flags(v)
	return w.note(&w.states[i], v, func() error { return w.SetState(node(i), set, w.all, 0) })
}

func (w *numbers) writeField(i uint64) error {
	v := w.lastField[i].Add(1)
	return w.note(&w.fields[i], v, func() error { return w.field.Set(w.NodeStateMachine, node(i), v) })
}

func (w *numbers) note(h *history, v uint64, write func() error) error {
	begin := w.moments.Add(1)
	err := write()
	h.wrote(access{v, begin, w.moments.Add(1)})
	return err
}

func (w *numbers) read(i uint64) {
	n := node(i)
	var states, fields []access
	for len(states) < 100 || !w.stopped.Load() && len(states) < 300 {
		begin := w.moments.Add(1)
		v := w.number(w.GetState(n))
		middle := w.moments.Add(1)
		states = append(states, access{v, begin, middle})
		v, _ = w.field.Get(w.NodeStateMachine, n)
		fields = append(fields, access{v, middle, w.moments.Add(1)})
	}
	w.states[i].read(states)
	w.fields[i].read(fields)
}

// stop writes 0 to everything, by ending it.
func (w *numbers) stop() {
	for w.written.Load() < 1500 {
		runtime.Gosched()
	}
	begin := w.moments.Add(1)
	w.Stop()
	w.stopped.Store(true)
	end := w.moments.Add(1)
	for i := range w.states {
		w.states[i].wrote(access{0, begin, end})
		w.fields[i].wrote(access{0, begin, end})
	}
}

// access is a number that was written or read, and between which moments.
type access struct{ v, begin, end uint64 }

// history is what happened to a number. It is consistent if it could have come
// from one that only one at a time looks at (linearizable, as Herlihy and Wing
// call it).
type history struct {
	mu     sync.Mutex
	order  []uint64          // in which numbers were written
	writes map[uint64]access // by number
	reads  []access
}

func (h *history) tell(v uint64) { h.order = append(h.order, v) } // within an operation

func (h *history) wrote(a access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writes == nil {
		h.writes = make(map[uint64]access)
	}
	h.writes[a.v] = a
}

func (h *history) read(list []access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads = append(h.reads, list...)
}

var (
	errNeverWritten = errors.New("read what was never written")
	errTooEarly     = errors.New("read before it was written")
	errOverwritten  = errors.New("read after it was overwritten")
	errWentBack     = errors.New("read after something newer was read")
)

func (h *history) check() error {
	place := make(map[uint64]int) // of numbers in the order
	for k, v := range h.order {
		place[v] = k
	}
	// overwritten[k] is when the first write ended that came after the k-th.
	overwritten := make([]uint64, len(h.order))
	for k, first := len(h.order)-1, uint64(math.MaxUint64); k >= 0; k-- {
		overwritten[k] = first
		first = min(first, h.writes[h.order[k]].end)
	}
	byEnd := slices.Clone(h.reads)
	slices.SortFunc(h.reads, func(a, b access) int { return int(a.begin) - int(b.begin) })
	slices.SortFunc(byEnd, func(a, b access) int { return int(a.end) - int(b.end) })
	newest := 0 // that was read before
	for _, r := range h.reads {
		for ; byEnd[0].end < r.begin; byEnd = byEnd[1:] {
			newest = max(newest, place[byEnd[0].v])
		}
		switch k, ok := place[r.v]; {
		case !ok:
			return errNeverWritten
		case h.writes[r.v].begin > r.end:
			return errTooEarly
		case overwritten[k] < r.begin:
			return errOverwritten
		case k < newest:
			return errWentBack
		}
	}
	return nil
}
