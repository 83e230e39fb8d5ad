package upstream

import (
	"flag"
	"fmt"
	"maps"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	geth "github.com/ethereum/go-ethereum/p2p/nodestate"

	"github.com/lespool/lespool/nodestate"
)

// The two sides of a pair must do the same work, or the table means nothing.

func TestSidesDoTheSameWork(t *testing.T) {
	const rounds = 2500 // ends in the middle of the third turn
	their, our := newTheirWorld(numNodes), newOurWorld(numNodes)
	theirCascade, ourCascade := newTheirCascade(), newOurCascade()
	for _, work := range []struct {
		name         string
		theirs, ours func(*testing.B)
		wantCalls    int // in a round
	}{
		{"SetState", their.setState, our.setState, 1},
		{"Timeout", their.timeout, our.timeout, 2},
		{"Field", their.setField, our.setField, 1},
		{"GetState", their.getState, our.getState, 0},
		{"Cascade", theirCascade.cascade, ourCascade.cascade, 3 + 3},
	} {
		their.calls, our.calls, theirCascade.calls, ourCascade.calls = 0, 0, 0, 0
		runRounds(t, rounds, work.theirs)
		runRounds(t, rounds, work.ours)
		theirCalls, ourCalls := their.calls+theirCascade.calls, our.calls+ourCascade.calls
		if want := work.wantCalls * rounds; theirCalls != want || ourCalls != want {
			t.Errorf("%s: %d and %d calls of subscribers, want %d", work.name, theirCalls, ourCalls, want)
		}
	}
	if their.sum != our.sum || our.sum == 0 {
		t.Errorf("the fields' subscribers got values with sums of %d and %d", their.sum, our.sum)
	}
	compareStates(t, their, our)
	compareStates(t, theirCascade, ourCascade)
}

// Both sides load what the other one wrote, and what the benchmarks of Start
// begin with.
func TestSidesReadEachOther(t *testing.T) {
	const count = 100
	nodes := makeRecords(t, count)
	theirDB, ourDB := openDB(t), openDB(t)
	their, our := newTheirStored(theirDB), newOurStored(ourDB)
	their.ns.Start()
	our.ns.Start()
	their.fill(nodes)
	our.fill(nodes)
	their.ns.Stop()
	our.ns.Stop()

	their, our = newTheirStored(ourDB), newOurStored(theirDB)
	their.ns.Start()
	our.ns.Start()
	if their.calls != 2*count || our.calls != 2*count {
		t.Errorf("%d and %d calls at Start, want %d", their.calls, our.calls, 2*count)
	}
	for i, n := range nodes {
		if v := their.ns.GetField(n, their.field); v != firstValue+uint64(i) {
			t.Fatalf("they read %v for node %d", v, i)
		}
		if v, _ := our.field.Get(our.ns, n); v != firstValue+uint64(i) {
			t.Fatalf("we read %v for node %d", v, i)
		}
	}
}

// ---------------------------------------------------------------------------

// runRounds runs the body of a benchmark for a fixed number of rounds.
func runRounds(t *testing.T, rounds int, body func(*testing.B)) {
	t.Helper()
	benchtime := flag.Lookup("test.benchtime").Value
	before := benchtime.String()
	defer benchtime.Set(before)
	if err := benchtime.Set(fmt.Sprintf("%dx", rounds)); err != nil {
		t.Fatal(err)
	}
	if result := testing.Benchmark(body); result.N != rounds {
		t.Fatalf("ran %d rounds", result.N)
	}
}

// compareStates checks that all nodes are in the same state on both sides.
func compareStates(t *testing.T, their *theirWorld, our *ourWorld) {
	t.Helper()
	theirStates, ourStates := map[enode.ID]string{}, map[enode.ID]string{}
	their.ns.ForEach(geth.Flags{}, geth.Flags{}, func(n *enode.Node, _ geth.Flags) {
		theirStates[n.ID()] = their.ns.GetState(n).String()
	})
	our.ns.ForEach(nodestate.Flags{}, nodestate.Flags{}, func(n *enode.Node, state nodestate.Flags) {
		ourStates[n.ID()] = state.String()
	})
	if len(ourStates) != numNodes || !maps.Equal(theirStates, ourStates) {
		t.Errorf("states of %d and %d nodes differ", len(theirStates), len(ourStates))
	}
}
