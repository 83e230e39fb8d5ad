package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// runner runs benchmarks of the compiled test binary, a process each, so that
// none inherits another one's heap.
type runner struct {
	binary    string
	benchtime string
	results   results
	cpu       string
}

// build compiles the benchmarks of the given package folder into dir.
func build(folder, dir string) (binary string, err error) {
	binary = filepath.Join(dir, "upstream.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, ".")
	cmd.Dir = folder
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the benchmarks: %w\n%s", err, output)
	}
	return binary, nil
}

// task is one process: a benchmark and how long it runs.
type task struct {
	benchmark string // slash-separated, without "Benchmark"
	once      bool
}

// plan returns the tasks of one round: floors, then each work's two sides one
// after the other.
func (s suite) plan(selected *regexp.Regexp, growth bool) (tasks []task) {
	if s.basics {
		for _, f := range floors {
			tasks = append(tasks, task{benchmark: "Floor" + f.benchmark})
		}
	}
	for _, w := range s.works {
		if selected.MatchString(w.benchmark) {
			tasks = append(tasks, task{"Theirs" + w.benchmark, w.once}, task{"Ours" + w.benchmark, w.once})
		}
	}
	if s.basics && growth {
		for _, size := range sizes {
			for _, side := range []string{"Floor", "Theirs", "Ours"} {
				tasks = append(tasks, task{benchmark: side + growthBenchmark + "/" + size})
			}
		}
	}
	return tasks
}

// run does all tasks and keeps what they measure.
func (r *runner) run(tasks []task) error {
	for _, t := range tasks {
		benchtime := r.benchtime
		if t.once {
			benchtime = "1x"
		}
		cmd := exec.Command(r.binary, "-test.run", "^$", "-test.bench", pattern(t.benchmark),
			"-test.benchtime", benchtime, "-test.benchmem")
		cmd.Stderr = os.Stderr
		output, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("benchmark %s: %w\n%s", t.benchmark, err, output)
		}
		cpu, err := r.results.parse(string(output))
		if err != nil {
			return err
		}
		if !r.results.has(t.benchmark) {
			return fmt.Errorf("there is no benchmark %s", t.benchmark)
		}
		r.cpu = cpu
	}
	return nil
}

// pattern selects exactly the given benchmark and what it runs.
func pattern(benchmark string) string {
	parts := strings.Split("Benchmark"+benchmark, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}
