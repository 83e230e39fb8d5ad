package main

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"

	"github.com/lespool/lespool/internal/testutil/simnet"
)

func TestTargetsAreOfScenariosAndFiguresThatExist(t *testing.T) {
	for key := range targets {
		sc := scenarioByName(key[0])
		if sc == nil || !slices.Contains(sc.shown(), key[1]) {
			t.Errorf("target of %q, which is on no table", key)
		}
	}
	names := make(map[string]bool)
	for _, sc := range scenarios {
		if names[sc.name] || scenarioByName(sc.name).title != sc.title {
			t.Errorf("scenario %q is not the only one of its name", sc.name)
		}
		names[sc.name] = true
		for _, name := range sc.shown() {
			if !slices.ContainsFunc(figures, func(f figure) bool { return f.name == name }) {
				t.Errorf("%s shows %q, which is no figure", sc.name, name)
			}
		}
		if !sc.speed && !sc.memory {
			if _, err := simnet.New(sc.config(1), nowhere{}); err != nil {
				t.Errorf("%s: %v", sc.name, err)
			}
		}
	}
}

func TestTargets(t *testing.T) {
	less, more, free := figure{unit: seconds}, figure{unit: share, higher: true}, figure{free: true}
	for _, test := range []struct {
		name        string
		target      target
		figure      figure
		ours, ratio float64
		text        string
		met         bool
	}{
		{"ratio", target{ratio: 0.5}, less, 9, 0.5, "≤ ×0.50", true},
		{"ratio missed", target{ratio: 0.5}, less, 9, 0.51, "≤ ×0.50", false},
		{"more is better", target{ratio: 3}, more, 9, 3, "≥ ×3.00", true},
		{"more is better, missed", target{ratio: 3}, more, 9, 2.9, "≥ ×3.00", false},
		{"at most", target{atMost: 0.1}, figure{unit: share}, 0.1, 7, "≤ 10.0%", true},
		{"at most, missed", target{atMost: 0.1}, figure{unit: share}, 0.11, 0.1, "≤ 10.0%", false},
		{"at least", target{atLeast: 0.6}, more, 0.6, 0, "≥ 60.0%", true},
		{"at least, missed", target{atLeast: 0.6}, more, 0.59, 9, "≥ 60.0%", false},
		{"without", target{ratio: 1.1}, free, 9, math.Inf(1), "", true},
	} {
		if got := test.target.text(test.figure); got != test.text {
			t.Errorf("%s: text %q, want %q", test.name, got, test.text)
		}
		if got := test.target.met(test.figure, test.ours, test.ratio); got != test.met {
			t.Errorf("%s: met = %v", test.name, got)
		}
	}
	if got := targetOf("day", "ours", figure{name: "answer"}); got.ratio != 0.6 {
		t.Errorf("day, answer: %+v", got)
	}
	if got := targetOf("day", "compat", figure{name: "answer"}); got.ratio != otherLimit {
		t.Errorf("the constructor of existing clients has to do better than no worse: %+v", got)
	}
	if got := targetOf("day", "ours", figure{name: "first", higher: true}); got.ratio != 1/otherLimit {
		t.Errorf("a figure without a target of its own: %+v", got)
	}
}

func TestQuotient(t *testing.T) {
	for _, test := range [][3]float64{{1, 2, 0.5}, {0, 2, 0}, {0, 0, 1}, {1, 0, math.Inf(1)}} {
		if got := quotient(test[0], test[1]); got != test[2] {
			t.Errorf("%v / %v = %v", test[0], test[1], got)
		}
	}
}

func TestUnits(t *testing.T) {
	for _, test := range []struct {
		unit unit
		v    float64
		want string
	}{
		{seconds, 0.5, "0.50 s"}, {seconds, 9.994, "9.99 s"}, {seconds, 9.996, "10.0 s"}, {share, 0.125, "12.5%"},
		{perHour, 3.14, "3.1/h"}, {number, 7, "7"}, {perSecond, 1234.5, "1234/s"}, {megabytes, 25e6, "25.0 MB"},
	} {
		if got := test.unit.String(test.v); got != test.want {
			t.Errorf("%v: %q, want %q", test.v, got, test.want)
		}
	}
}

// The sides are compared seed by seed: here ours is better with two seeds of
// three, though the medians are equal.
func TestCompare(t *testing.T) {
	r, seeds := make(results), []uint64{1, 2, 3}
	theirs, ours := []float64{10, 20, 30}, []float64{20, 15, 24}
	for i, seed := range seeds {
		r[run{"cold", "theirs", seed}] = map[string]float64{"first": theirs[i], "queries": 0}
		r[run{"cold", "ours", seed}] = map[string]float64{"first": ours[i], "queries": 0}
		r[run{"list", "theirs", seed}] = map[string]float64{"first": 1} // ours is missing
	}
	table := r.compare("ours", seeds)
	want := [][]string{
		{scenarioByName("cold").title, "1st server", "20.0 s", "20.0 s", "0.80", "0.75–2.00", "≤ ×1.00", "ok"},
		{"", "UDP queries", "0.0/h", "0.0/h", "1.00", "1.00–1.00", "≤ ×1.10", "ok"},
	}
	if len(table) != 3 || !slices.Equal(table[1], want[0]) || !slices.Equal(table[2], want[1]) {
		t.Errorf("got %q", table)
	}
	r[run{"cold", "ours", 3}]["first"] = 31
	table = r.compare("ours", seeds)
	if got := table[1][7]; got != over {
		t.Errorf("verdict %q", got)
	}
	if got := summary(table); got != "1 of 2 figures within their limits." {
		t.Error(got)
	}
	if text := report(r, seeds, "such ways", time.Minute); strings.Count(text, "## ") != 1 || !strings.Contains(text, "such ways") {
		t.Errorf("report:\n%s", text)
	}
}

func TestPlan(t *testing.T) {
	runs, err := plan("^(cold|speed)$", ".", []uint64{5, 6, 7, 8})
	if err != nil {
		t.Fatal(err)
	}
	together, alone := split(runs)
	if want := (run{"cold", "theirs", 5}); len(together) != 12 || together[0] != want {
		t.Errorf("together: %v", together)
	}
	if len(alone) != 6 || slices.ContainsFunc(alone, func(r run) bool { return r.side == "compat" }) {
		t.Errorf("alone: %v", alone)
	}
	for _, bad := range [][2]string{{"(", "."}, {".", "("}, {"nothing", "."}} {
		if _, err := plan(bad[0], bad[1], []uint64{1}); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
	if seeds, err := parseSeeds("1, 22,3"); err != nil || !slices.Equal(seeds, []uint64{1, 22, 3}) {
		t.Errorf("seeds %v, error %v", seeds, err)
	}
	if seeds, err := parseSeeds("7,3-5,18446744073709551615"); err != nil || !slices.Equal(seeds, []uint64{7, 3, 4, 5, math.MaxUint64}) {
		t.Errorf("seeds %v, error %v", seeds, err)
	}
	for _, bad := range []string{"", "1,", "-1", "x", "5-3", "1-x", "0-18446744073709551615"} {
		if _, err := parseSeeds(bad); err == nil {
			t.Errorf("no error for seeds %q", bad)
		}
	}
}

func TestAllRunsAreDoneOrTheFirstErrorIsTold(t *testing.T) {
	runs, err := plan("^cold$", ".", []uint64{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	r := make(results)
	var mu sync.Mutex
	done := make(map[run]int)
	do := func(this run) (map[string]float64, error) {
		mu.Lock()
		defer mu.Unlock()
		done[this]++
		return map[string]float64{"first": 1}, nil
	}
	if err := r.doAll(runs, 3, do, io.Discard); err != nil || len(r) != 9 || len(done) != 9 {
		t.Errorf("%d results of %d runs, error %v", len(r), len(done), err)
	}
	broken, calls := errors.New("broken"), 0
	err = make(results).doAll(runs, 1, func(run) (map[string]float64, error) {
		calls++
		return nil, broken
	}, io.Discard)
	if !errors.Is(err, broken) || calls != 1 {
		t.Errorf("error %v after %d calls", err, calls)
	}
}

func TestVirtualClock(t *testing.T) {
	source, err := goList("-m", "-f", "{{.Dir}}", gethModule)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(source, "common", "mclock", "mclock.go"))
	if err != nil {
		t.Fatal(err)
	}
	virtual, err := virtualClock(string(text))
	if err != nil || strings.Contains(virtual, "go:linkname nanotime") || !strings.Contains(virtual, "time.Now().UnixNano()") {
		t.Errorf("error %v in\n%s", err, virtual)
	}
	if _, err := virtualClock("package mclock\n"); err == nil {
		t.Error("no error for a text without the function")
	}
}

// nowhere is a clock that nobody should look at.
type nowhere struct{ mclock.Clock }

func (nowhere) Now() mclock.AbsTime { return 0 }
