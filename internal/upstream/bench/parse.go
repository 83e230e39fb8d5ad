package main

import (
	"bufio"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/lespool/lespool/internal/upstream/internal/tables"
)

// results holds what benchmarks measured: name, unit, and a value a run.
type results map[string]map[string][]float64

func (r results) add(name, unit string, value float64) {
	if r[name] == nil {
		r[name] = make(map[string][]float64)
	}
	r[name][unit] = append(r[name][unit], value)
}

// median returns the middle value of a benchmark, ok false when there is none.
func (r results) median(name, unit string) (value float64, ok bool) {
	values := r[name][unit]
	if len(values) == 0 {
		return 0, false
	}
	return tables.Median(values), true
}

var cores = regexp.MustCompile(`-\d+$`)

// parse adds what the output of "go test -bench" says, with the names of the
// benchmarks without "Benchmark" and the number of cores. It returns the name
// of the CPU if the output has one.
func (r results) parse(output string) (cpu string, err error) {
	lines := bufio.NewScanner(strings.NewReader(output))
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "cpu: "); ok {
			cpu = name
		}
		name, ok := strings.CutPrefix(lines.Text(), "Benchmark")
		if !ok {
			continue
		}
		fields := strings.Fields(name)
		if len(fields) < 4 || len(fields)%2 != 0 {
			return cpu, fmt.Errorf("not the result of a benchmark: %q", lines.Text())
		}
		for i := 2; i < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return cpu, fmt.Errorf("result of benchmark %s: %w", fields[0], err)
			}
			r.add(cores.ReplaceAllString(fields[0], ""), fields[i+1], value)
		}
	}
	return cpu, lines.Err()
}

// has tells whether there are results of the benchmark or its parts.
func (r results) has(benchmark string) bool {
	for name := range r {
		if name == benchmark || strings.HasPrefix(name, benchmark+"/") {
			return true
		}
	}
	return false
}
