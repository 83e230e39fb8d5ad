// Command sim has go-ethereum v1.13.5's pool of servers and this project's find
// and keep servers in the same simulated networks, in virtual time, and makes one
// table of what came of it: scenario, figure, theirs, ours, ratio, target, and
// "ok" or "over". It records it in SIMULATION.md unless told otherwise.
//
// Each run is a process of its own, with a network made of the seed. Figures are
// medians over the seeds; ratios are those of the sides with the same seed, of
// which the median and the range are shown. A second table compares our pool as
// existing light clients make it.
//
// Run it in the folder of package upstream: go run ./sim
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lespool/lespool/internal/upstream/internal/tables"
)

func main() {
	if err := simulate(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
}

// ourSides are compared with theirs, in a table each.
var ourSides = []struct{ name, title string }{
	{"ours", "Our pool as a new light client makes it"},
	{"compat", "Our pool as an existing light client makes it (NewServerPool)"},
}

func simulate(out, progress io.Writer) error {
	var (
		seedList = flag.String("seeds", "1-30", "comma-separated `seeds` of the networks, or ranges such as 1-20; more make medians steadier")
		only     = flag.String("scenarios", ".", "regular `expression` for the names of the scenarios")
		side     = flag.String("sides", ".", "regular `expression` for our sides: ours, compat")
		overdial = flag.Int("overdial", 1, "dials under way for each free slot; 2 in p2p, if its configuration leaves room")
		ahead    = flag.Int("ahead", 0, "candidates that are read before there is a slot; 2 in p2p")
		workers  = flag.Int("workers", runtime.NumCPU(), "how many runs go on at once")
		record   = flag.String("out", "SIMULATION.md", "`file` to record the tables in; empty: none")
	)
	flag.Parse()
	seeds, err := parseSeeds(*seedList)
	if err != nil {
		return err
	}
	runs, err := plan(*only, *side, seeds)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sim")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := build(dir)
	if err != nil {
		return err
	}
	began := time.Now()
	r := make(results)
	options := []string{"-sim.overdial", strconv.Itoa(*overdial), "-sim.ahead", strconv.Itoa(*ahead)}
	do := func(this run) (map[string]float64, error) { return execute(binary, dir, this, options) }
	together, alone := split(runs)
	if err := r.doAll(together, *workers, do, progress); err != nil {
		return err
	}
	if err := r.doAll(alone, 1, do, progress); err != nil {
		return err
	}
	how := fmt.Sprintf("%d dials under way for each free slot, %d candidates read ahead", *overdial, *ahead)
	text := report(r, seeds, how, time.Since(began))
	fmt.Fprint(out, text)
	if *record == "" {
		return nil
	}
	return os.WriteFile(*record, []byte("# The pool beside go-ethereum v1.13.5's, in a simulated network\n\n"+
		"Written by `go run ./sim`; its comment says what is measured.\n\n"+text), 0o644)
}

// parseSeeds reads a list of seeds and ranges of seeds.
func parseSeeds(list string) (seeds []uint64, err error) {
	for _, field := range strings.Split(list, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(field), "-")
		if !isRange {
			high = low
		}
		from, err := strconv.ParseUint(low, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("-seeds: %w", err)
		}
		to, err := strconv.ParseUint(high, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("-seeds: %w", err)
		}
		if to < from || to-from >= maxSeeds {
			return nil, fmt.Errorf("-seeds: %s is no range of at most %d", field, maxSeeds)
		}
		for k := range to - from + 1 {
			seeds = append(seeds, from+k)
		}
	}
	return seeds, nil
}

// maxSeeds is more than anybody has the patience for.
const maxSeeds = 1000

// plan returns the runs, those of one seed next to each other.
func plan(only, side string, seeds []uint64) (runs []run, err error) {
	selected, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-scenarios: %w", err)
	}
	ours, err := regexp.Compile(side)
	if err != nil {
		return nil, fmt.Errorf("-sides: %w", err)
	}
	for _, sc := range scenarios {
		if !selected.MatchString(sc.name) {
			continue
		}
		for i, seed := range seeds {
			if sc.seeds > 0 && i >= sc.seeds {
				break
			}
			runs = append(runs, run{sc.name, "theirs", seed})
			for _, s := range ourSides {
				if ours.MatchString(s.name) && sc.with(s.name) {
					runs = append(runs, run{sc.name, s.name, seed})
				}
			}
		}
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("no scenario matches %q", only)
	}
	return runs, nil
}

// split separates runs in virtual time from those that need the whole machine.
func split(runs []run) (together, alone []run) {
	for _, this := range runs {
		if scenarioByName(this.scenario).speed {
			alone = append(alone, this)
		} else {
			together = append(together, this)
		}
	}
	return together, alone
}

// execute has the test binary do one run.
func execute(binary, dir string, this run, options []string) (figures map[string]float64, err error) {
	file := filepath.Join(dir, fmt.Sprintf("%s-%s-%d.json", this.scenario, this.side, this.seed))
	cmd := exec.Command(binary, append(options, "-test.run", "^TestSimulate$", "-test.timeout", "10m",
		"-sim.scenario", this.scenario, "-sim.side", this.side,
		"-sim.seed", strconv.FormatUint(this.seed, 10), "-sim.out", file)...)
	if !scenarioByName(this.scenario).speed {
		// What happens in a bubble happens one after the other.
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", this, err, output)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return figures, json.Unmarshal(text, &figures)
}

// doAll does runs, several at once, and collects what they measure. It ends with
// the first that fails.
func (r results) doAll(runs []run, workers int, do func(run) (map[string]float64, error), progress io.Writer) error {
	var (
		mu      sync.Mutex
		failure error
		wg      sync.WaitGroup
	)
	for range max(workers, 1) {
		wg.Go(func() {
			for {
				mu.Lock()
				if failure != nil || len(runs) == 0 {
					mu.Unlock()
					return
				}
				next := runs[0]
				runs = runs[1:]
				mu.Unlock()
				began := time.Now()
				figures, err := do(next)
				mu.Lock()
				if err != nil {
					failure = err
				}
				r[next] = figures
				fmt.Fprintf(progress, "%-12s %-7s seed %-3d %5.1f s, %d to go\n",
					next.scenario, next.side, next.seed, time.Since(began).Seconds(), len(runs))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failure
}

// report is both tables with a line about the run.
func report(r results, seeds []uint64, how string, took time.Duration) string {
	var text strings.Builder
	fmt.Fprintf(&text, "Medians over seeds %v; ratio = ours divided by theirs with the same seed. The client has %s. %s, %v.\n",
		seeds, how, tables.Machine("Virtual time"), took.Round(time.Second))
	for _, side := range ourSides {
		if table := r.compare(side.name, seeds); len(table) > 1 {
			fmt.Fprintf(&text, "\n## %s\n\n%s\n%s\n", side.title, tables.Format(table), summary(table))
		}
	}
	return text.String()
}
