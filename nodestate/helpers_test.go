package nodestate_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// What the tests of this package share.
//
// Faults that machines of this kind used to have, and the tests against them:
//
//	a panic of a callback ends the process or hangs the rest  TestPanic…, TestGoexit…
//	a blocking call inside a callback hangs without a word    TestBlockingCallInsideCallbackIsNamed
//	comparing slices or maps as field values panics           TestFieldValuesAreNeverCompared
//	timers outlive Stop and keep the machine in memory        TestStopCancelsEveryTimer
//	what shutdown callbacks set is stored                     TestStoredIsTheStateBeforeShutdown
//	a crash loses everything                                  TestFlushInterval, TestKilledProcessLosesOneInterval
//	bad entries are noise, unknown bits come back             TestBadEntries…, TestForeignBitsAreMasked
//	a load that was cut short looks complete                  TestStartReportsAnInterruptedLoad
//	the store is written while others wait                    TestSlowStoreDelaysNoOperation
//	nodes with fields but without flags stay for ever         TestFieldsDoNotKeepANode
//	getters write; calls work on a closed store               TestGettersChangeNothing, TestClosedMachine
//	Start twice, or too many flags, hang later callers        TestStartTwice, TestTooManyFlags

func TestMain(m *testing.M) {
	// LevelDB's pool ends up to a second after the database was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

// none is the empty set of flags.
var none Flags

// node returns the i-th test node in its first record.
func node(i uint64) *enode.Node { return testutil.FakeNode(i, 1) }

// table is a machine on a table with a clock and a log.
type table struct {
	*NodeStateMachine
	clock *testutil.Clock
	log   *logbook
}

// lay makes a machine that is not started. Clock and log of the configuration
// are replaced. It is stopped when the test ends.
func lay(t testing.TB, setup *Setup, config Config) *table {
	tb := &table{clock: new(testutil.Clock), log: newLogbook()}
	config.Clock, config.Log = tb.clock, tb.log
	tb.NodeStateMachine = New(setup, config)
	t.Cleanup(func() {
		if !t.Failed() { // else it may hang, and hide what has failed
			tb.Stop()
		}
	})
	return tb
}

// begin makes a machine and starts it.
func begin(t testing.TB, setup *Setup, config Config) *table {
	tb := lay(t, setup, config)
	require.NoError(t, tb.Start())
	return tb
}

// trace is a list of what happened.
type trace struct {
	mu    sync.Mutex
	lines []string
}

func (tr *trace) add(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf(format, args...))
}

// take returns what was added since the last take.
func (tr *trace) take() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	lines := tr.lines
	tr.lines = nil
	return lines
}

// watch notes every call for the flags as "name: old→new".
func (tr *trace) watch(ns *table, name string, flags Flags) {
	ns.SubscribeState(flags, func(_ Op, _ *enode.Node, from, to Flags) { tr.add("%s: %v→%v", name, from, to) })
}

// watchField notes every change of the field as "name: old→new", "-" being
// absent.
func watchField[T any](tr *trace, ns *table, name string, f Field[T]) {
	f.Subscribe(ns.NodeStateMachine, func(_ Op, _ *enode.Node, _ Flags, from, to Value[T]) {
		tr.add("%s: %s→%s", name, show(from), show(to))
	})
}

func show[T any](v Value[T]) string {
	if !v.Ok {
		return "-"
	}
	return fmt.Sprint(v.V)
}

// logbook keeps what is logged.
type logbook struct {
	log.Logger // for what the machine does not call
	trace
}

func newLogbook() *logbook { return &logbook{Logger: log.Root()} }

func (b *logbook) write(level, msg string, ctx []any) {
	var sb strings.Builder
	for i := 0; i+1 < len(ctx); i += 2 {
		fmt.Fprintf(&sb, " %v=%v", ctx[i], ctx[i+1])
	}
	b.add("%s %s%s", level, msg, sb.String())
}

func (b *logbook) Trace(msg string, ctx ...any) { b.write("trace", msg, ctx) }
func (b *logbook) Debug(string, ...any)         {}
func (b *logbook) Warn(msg string, ctx ...any)  { b.write("warn", msg, ctx) }
func (b *logbook) Error(msg string, ctx ...any) { b.write("error", msg, ctx) }

// within fails the test when f does not come to an end: that is how a deadlock
// shows.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal(what + " hangs")
	}
}

// panicOf returns what f panics with.
func panicOf(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

// defaultFlush is the flush interval that the contract names.
const defaultFlush = 10 * time.Second
