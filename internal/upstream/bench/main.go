// Command bench runs the pairs of benchmarks of package upstream by turns, and
// prints tables of the medians: how long a work takes go-ethereum v1.13.5 and this
// project, the ratio, the target, and "ok" or "over". There are two:
//
//   - nodestate: node states, p2p/nodestate beside package nodestate. Two more
//     tables show how the time of a call grows with the number of nodes, and the
//     floor: bare look-ups, locks and calls. It is recorded in RESULTS.md.
//   - serving: pools of clients and their limiters, les/vflux/server beside
//     packages lespay/server and udpquery. It is recorded in SERVING.md.
//
// Run it in the folder of package upstream: go run ./bench
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/lespool/lespool/internal/upstream/internal/tables"
)

func main() {
	if err := run(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(out, progress io.Writer) error {
	var (
		rounds    = flag.Int("rounds", 8, "how often each benchmark runs; more make the medians steadier")
		benchtime = flag.Duration("benchtime", 150*time.Millisecond, "how long each run of a short benchmark takes")
		only      = flag.String("works", ".", "regular `expression` for the names of the works' benchmarks")
		growth    = flag.Bool("growth", true, "measure the growth with the number of nodes too")
		chosen    = flag.String("tables", "all", "`name` of the tables to make: nodestate, serving or all")
		folder    = flag.String("out", ".", "`folder` to record the tables in; empty: none")
	)
	flag.Parse()
	selected, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-works: %w", err)
	}
	if *rounds < 1 {
		return fmt.Errorf("-rounds: %d, must be at least 1", *rounds)
	}
	measured, err := chooseSuites(*chosen)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := build(".", dir)
	if err != nil {
		return err
	}
	for _, s := range measured {
		r := runner{binary: binary, benchtime: benchtime.String(), results: results{}}
		for i := range *rounds {
			fmt.Fprintf(progress, "%s, round %d of %d\n", s.name, i+1, *rounds)
			if err := r.run(s.plan(selected, *growth)); err != nil {
				return err
			}
		}
		text := s.report(r.results, tables.Machine(r.cpu), *rounds)
		fmt.Fprintln(out, text)
		if err := s.record(*folder, text); err != nil {
			return err
		}
	}
	return nil
}

// chooseSuites returns the suites that are named, or all.
func chooseSuites(name string) ([]suite, error) {
	for i, s := range suites {
		if s.name == name {
			return suites[i : i+1], nil
		}
	}
	if name != "all" {
		return nil, fmt.Errorf("-tables: there is no %q", name)
	}
	return suites, nil
}

// record writes the suite's file, unless no folder is given.
func (s suite) record(folder, text string) error {
	if folder == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(folder, s.file), []byte("# "+s.title+"\n\n"+
		"Written by `go run ./bench`; the package comment says what is measured.\n\n"+text), 0o644)
}

// report is all tables with a line about the run.
func (s suite) report(r results, machine string, rounds int) string {
	parts := []string{
		fmt.Sprintf("%s. Medians of %d runs, sides by turns; ratio = ours divided by theirs.\n", machine, rounds),
		tables.Format(costTable(s.works, r)),
		tables.Format(growthTable(r)),
		tables.Format(floorTable(r)),
	}
	var text []string
	for _, part := range parts {
		if part != "" {
			text = append(text, part)
		}
	}
	return strings.Join(text, "\n")
}
