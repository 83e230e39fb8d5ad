// Command bench runs the pairs of benchmarks of package upstream by turns, and
// prints one table of the medians: how long a work takes go-ethereum v1.13.5's
// p2p/nodestate and this project's nodestate, the ratio, the target, and "ok" or
// "over". Two more tables show how the time of a call grows with the number of
// nodes, and the floor: bare look-ups, locks and calls. It records them in
// RESULTS.md unless told otherwise.
//
// Run it in the folder of package upstream: go run ./bench
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
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
		record    = flag.String("out", "RESULTS.md", "`file` to record the tables in; empty: none")
	)
	flag.Parse()
	selected, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-works: %w", err)
	}
	if *rounds < 1 {
		return fmt.Errorf("-rounds: %d, must be at least 1", *rounds)
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
	r := runner{binary: binary, benchtime: benchtime.String(), results: results{}}
	for i := range *rounds {
		fmt.Fprintf(progress, "round %d of %d\n", i+1, *rounds)
		if err := r.run(plan(selected, *growth)); err != nil {
			return err
		}
	}
	text := report(r.results, tables.Machine(r.cpu), *rounds)
	fmt.Fprint(out, text)
	if *record == "" {
		return nil
	}
	return os.WriteFile(*record, []byte("# nodestate beside go-ethereum v1.13.5's\n\n"+
		"Written by `go run ./bench`; the package comment says what is measured.\n\n"+text), 0o644)
}

// report is all tables with a line about the run.
func report(r results, machine string, rounds int) string {
	parts := []string{
		fmt.Sprintf("%s. Medians of %d runs, sides by turns; ratio = ours divided by theirs.\n", machine, rounds),
		tables.Format(costTable(r)),
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
