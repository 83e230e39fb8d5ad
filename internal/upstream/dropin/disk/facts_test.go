package disk

import (
	"math"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/lespool/lespool/lespay"
)

// facts is what a pool says of the database that it opened.
type facts struct {
	At      int64 // unix time in seconds
	Ours    bool  // our pool says it
	Servers []serverFacts
	Global  serverFacts
	Types   []lespay.RequestStatsItem // in the order of listB
	Timeout time.Duration             // recommended
	Local   string                    // address of the first server
}

// serverFacts is what it says of a server, or of all together.
type serverFacts struct {
	Offered int            // seconds until it was given out, though no source brought it; -1 never
	Values  []float64      // at the timeouts below
	Slow    []float64      // times that the shares below exceed
	Answers [32][2]float64 // the whole distribution
}

var (
	timeouts  = []float64{0.1, 1, 5}
	failRates = []float64{0.01, 0.1, 0.5, 0.9}
)

// watched is for how long candidates are waited for.
const watched = 3 * time.Hour

func collect(t *testing.T, db ethdb.KeyValueStore, open opener) facts {
	p := open(t, db, listB)
	defer p.close()
	f := facts{At: time.Now().Unix(), Ours: p.ours != nil, Global: ask(t, p, ""), Types: p.requestStats(), Timeout: p.getTimeout()}
	for _, n := range servers {
		f.Servers = append(f.Servers, ask(t, p, n.ID().String()))
	}
	f.Local = p.dialNode(moved).IP().String()
	for start, end := time.Now(), time.Now().Add(watched); time.Now().Before(end); {
		n := p.next(time.Until(end))
		if n == nil {
			break
		}
		if _, err := p.register(n); err != nil {
			t.Fatal(err)
		}
		s := &f.Servers[indexOf(n)]
		if s.Offered >= 0 {
			t.Errorf("server %d was given out while it was connected", indexOf(n))
		}
		s.Offered = int(time.Since(start) / time.Second)
	}
	return f
}

func ask(t *testing.T, p *pool, node string) serverFacts {
	f := serverFacts{Offered: -1}
	number := func(v float64, err error) float64 {
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, timeout := range timeouts {
		f.Values = append(f.Values, number(p.value(node, timeout)))
	}
	for _, rate := range failRates {
		f.Slow = append(f.Slow, number(p.timeout(node, rate)))
	}
	var err error
	if f.Answers, err = p.distribution(node); err != nil {
		t.Fatal(err)
	}
	return f
}

// agree tells whether two numbers are the same but for rounding, and for the
// moments of the system's clock that pass in the predecessor's tracker.
func agree(a, b float64) bool { return math.Abs(a-b) <= 1e-4*max(math.Abs(a), math.Abs(b), 1) }

// require compares what was said with what should have been. wait is that of the
// failing server by what is stored.
func (f facts) require(t *testing.T, want facts, wait int) {
	t.Helper()
	if f.At != want.At {
		t.Errorf("at %d, should be at %d", f.At, want.At)
	}
	if f.Local != want.Local {
		t.Errorf("local address %s, should be %s", f.Local, want.Local)
	}
	if d := f.Timeout - want.Timeout; d.Abs() > time.Millisecond {
		t.Errorf("timeout %v, should be %v", f.Timeout, want.Timeout)
	}
	if len(f.Types) != len(want.Types) {
		t.Fatalf("request types %v, should be %v", f.Types, want.Types)
	}
	for i, item := range f.Types {
		w := want.Types[i]
		if item.Name != w.Name || !agree(item.ReqAmount, w.ReqAmount) || !agree(item.ReqValue, w.ReqValue) {
			t.Errorf("request type %v, should be %v", item, w)
		}
	}
	f.Global.require(t, "all servers", want.Global)
	for i := range f.Servers {
		f.Servers[i].require(t, servers[i].IP().String(), want.Servers[i])
	}
	if late := f.Servers[failing].Offered - wait; f.Ours && (late < 0 || late > 3) {
		t.Errorf("the failing server came after %ds, its wait is %ds", f.Servers[failing].Offered, wait)
	}
}

func (f serverFacts) require(t *testing.T, name string, want serverFacts) {
	t.Helper()
	if f.Offered < 0 != (want.Offered < 0) {
		t.Errorf("%s: known %v, should be %v", name, f.Offered >= 0, want.Offered >= 0)
	}
	compare := func(what string, got, want []float64) {
		t.Helper()
		for i := range got {
			if !agree(got[i], want[i]) {
				t.Errorf("%s: %s %v, should be %v", name, what, got, want)
				return
			}
		}
	}
	compare("values", f.Values, want.Values)
	for i := range f.Answers {
		compare("answers", f.Answers[i][:], want.Answers[i][:])
	}
	// Of a server that never answered v1.13.5 says that all answers came within
	// 5 ms. Ours says 10 s: nothing is known.
	if f.Values[len(timeouts)-1] > 0 {
		compare("slow answers", f.Slow, want.Slow)
	}
}

// requireScript compares what was said with what the script makes of the servers.
func (f facts) requireScript(t *testing.T) {
	t.Helper()
	if f.Local != "127.0.0.1" {
		t.Errorf("local address %s", f.Local)
	}
	for i, s := range f.Servers {
		switch known := s.Offered >= 0; {
		case known != (i != never):
			t.Errorf("server %d: known %v", i, known)
		case i == failing && s.Offered < 60 && f.Ours:
			// The iterator of v1.13.5 runs while Start is still setting the waits,
			// and sometimes gives the server out at once.
			t.Errorf("the failing server waits for %ds only", s.Offered)
		case known && i != failing && s.Offered > 3:
			t.Errorf("server %d waits for %ds", i, s.Offered)
		}
		if has := s.Values[2] > 0; has != (i != never) {
			t.Errorf("server %d: value %v", i, s.Values)
		}
	}
	for i, item := range f.Types { // proofs, txs, headers: learned, but for txs
		learned := !agree(item.ReqAmount, listB[i].InitAmount)
		if item.Name != listB[i].Name || item.Name != "txs" && !learned {
			t.Errorf("request type %v", item)
		}
	}
}

// stored is what the machine stores of a node.
type stored struct {
	Record         rlp.RawValue
	Version, Flags uint64
	Fields         [][]byte
}

// storedHistory is the first field.
type storedHistory struct {
	DialCost           lespay.ExpiredValue
	WaitStart, WaitEnd uint64
}

func historyOf(t *testing.T, d database, n *enode.Node) (h storedHistory) {
	id := n.ID()
	var s stored
	if err := rlp.DecodeBytes(d.value(t, append([]byte(dbKey+"ns:"), id[:]...)), &s); err != nil {
		t.Fatal(err)
	}
	if err := rlp.DecodeBytes(s.Fields[0], &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// storedWait is how many seconds are left, at a time, of the wait of a server.
func storedWait(t *testing.T, d database, n *enode.Node, at int64) int {
	return int(historyOf(t, d, n).WaitEnd) - int(at)
}

// The fields of the tracker's entry by the pool's pages, after the version.
type storedValues struct {
	Mappings, Basket, Ref, Times rlp.RawValue
	Offset, SavedAt              uint64
}

// requireWeights has ours open the database, and compares the weights of the known
// servers with what the formula makes of what is stored.
func requireWeights(t *testing.T, d database, at int64) {
	t.Helper()
	var v storedValues
	entry := d.value(t, []byte("vt:"))
	if err := rlp.DecodeBytes(entry[1:], &v); err != nil { // entry[0] is the version, 1
		t.Fatal(err)
	}
	off := time.Unix(at, 0).Sub(time.Unix(0, int64(v.SavedAt)))
	offset := lespay.Fixed64(v.Offset) + lespay.Float64ToFixed64(off.Hours()/1000/math.Ln2)
	inBubble(t, at, func(t *testing.T) {
		p := openOurs(t, d.open(t), listB)
		defer p.close()
		for i, n := range servers[:never] {
			value, err := p.value(n.ID().String(), p.getTimeout().Seconds())
			if err != nil {
				t.Fatal(err)
			}
			cost := max(float64(historyOf(t, d, n).DialCost.Value(offset)), 10000)
			s, _ := p.ours.NodeStatus(n.ID())
			if want := 1e6 * value / cost; !s.Known || math.Abs(float64(s.Weight)-want) > want/1000 {
				t.Errorf("server %d: known %v, weight %d, should be %.0f", i, s.Known, s.Weight, want)
			}
		}
	})
}
