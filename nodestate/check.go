package nodestate

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/lespool/lespool/internal/invariants"
)

// checker finds faults of the state design when the build tag "invariants" is
// given; otherwise its methods do nothing and cost nothing.
type checker struct {
	owner    atomic.Uint64          // goroutine of the running operation, 0 if none
	callback atomic.Pointer[string] // what it is running
	calls    map[*node]int          // callbacks of this operation; belongs to the operation
	trail    map[*node][]string     // last changes of a node, oldest first; likewise
}

// maxCallbacks is how many callbacks for one node an operation may run before
// it is taken for a loop. More finds loops later, fewer may stop a long but
// finite cascade.
const maxCallbacks = 10000

// maxTrail is how many changes the message about a loop shows.
const maxTrail = 16

func (c *checker) begin(call string) {
	if invariants.Enabled {
		c.callback.Store(&call)
		c.owner.Store(goroutineID())
		c.calls, c.trail = make(map[*node]int), make(map[*node][]string)
	}
}

func (c *checker) end() {
	if invariants.Enabled {
		c.owner.Store(0)
	}
}

// entering notes which callback runs.
func (c *checker) entering(name string) {
	if invariants.Enabled {
		c.callback.Store(&name)
	}
}

// blocking panics when the caller's own operation is the one it would wait
// for.
func (c *checker) blocking(call string) {
	if invariants.Enabled && c.owner.Load() == goroutineID() {
		panic(fmt.Sprintf("nodestate: %s called inside callback %s would wait for itself for ever; use the callback's Op", call, *c.callback.Load()))
	}
}

// calling panics when an operation looks endless.
func (c *checker) calling(ns *NodeStateMachine, ch change) {
	if !invariants.Enabled {
		return
	}
	c.calls[ch.nd]++
	trail := append(c.trail[ch.nd], describe(ns, ch))
	if len(trail) > maxTrail {
		trail = trail[1:]
	}
	c.trail[ch.nd] = trail
	if c.calls[ch.nd] > maxCallbacks {
		panic(fmt.Sprintf("nodestate: more than %d callbacks for node %v in one operation; the last were for %s",
			maxCallbacks, ch.nd.record.Load().ID(), strings.Join(trail, ", ")))
	}
}

func describe(ns *NodeStateMachine, ch change) string {
	if ch.field != stateChange {
		return fmt.Sprintf("field %s", ns.setup.fields[ch.field].name)
	}
	return fmt.Sprintf("%v→%v", Flags{ch.from, ns.setup}, Flags{ch.to, ns.setup})
}

// callbackName returns the name of a function for messages.
func callbackName(cb any) string {
	if !invariants.Enabled {
		return ""
	}
	return runtime.FuncForPC(reflect.ValueOf(cb).Pointer()).Name()
}

// goroutineID reads the number that a stack trace begins with.
func goroutineID() uint64 {
	var buf [64]byte
	text := buf[:runtime.Stack(buf[:], false)]
	text = bytes.TrimPrefix(text, []byte("goroutine "))
	id, _ := strconv.ParseUint(string(text[:max(bytes.IndexByte(text, ' '), 0)]), 10, 64)
	return id
}
