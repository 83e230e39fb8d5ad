package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		w             work
		ratio, allocs float64
		want          string
	}{
		{work{target: 0.5}, 0.5, 0, "ok"},
		{work{target: 0.5}, 0.501, 0, "over"},
		{work{target: 0.5}, 0.1, 3, "ok"},
		{work{target: 0.5, noAllocs: true}, 0.1, 0, "ok"},
		{work{target: 0.5, noAllocs: true}, 0.1, 1, "over (allocates)"},
		{work{target: 0.5, noAllocs: true}, 0.6, 1, "over"},
	} {
		if got := verdict(test.w, test.ratio, test.allocs); got != test.want {
			t.Errorf("verdict(%+v, %v, %v) = %q, want %q", test.w, test.ratio, test.allocs, got, test.want)
		}
	}
}

func TestParse(t *testing.T) {
	r := results{}
	cpu, err := r.parse(`goos: linux
cpu: Some CPU @ 3 GHz
BenchmarkOursSetState-2   	20000000	       128.7 ns/op	       0 B/op	       1 allocs/op
BenchmarkOursSetState-2   	20000000	       130.7 ns/op	       0 B/op	       0 allocs/op
BenchmarkOursBytes-16     	       1	       141.7 B/node
BenchmarkOursGrowth/1000/Field-2 	 5	 12 ns/op
PASS
`)
	if err != nil || cpu != "Some CPU @ 3 GHz" {
		t.Fatalf("cpu %q, error %v", cpu, err)
	}
	for _, test := range []struct {
		name, unit string
		want       float64
	}{
		{"OursSetState", nsPerOp, 129.7},
		{"OursSetState", allocsPerOp, 0.5},
		{"OursBytes", bytesPerNode, 141.7},
		{"OursGrowth/1000/Field", nsPerOp, 12},
	} {
		if got, ok := r.median(test.name, test.unit); !ok || got < test.want-0.001 || got > test.want+0.001 {
			t.Errorf("%s %s = %v, %v, want %v", test.name, test.unit, got, ok, test.want)
		}
	}
	if _, ok := r.median("OursSetState", bytesPerNode); ok {
		t.Error("found what was not measured")
	}
	if !r.has("OursGrowth/1000") || !r.has("OursBytes") || r.has("OursGrow") {
		t.Error("has does not tell what there is")
	}
}

func TestParseRejects(t *testing.T) {
	for _, line := range []string{
		"BenchmarkOursSetState-2 1 many ns/op",
		"BenchmarkOursSetState-2 1 12",
		"BenchmarkOursSetState-2",
	} {
		if _, err := (results{}).parse(line); err == nil {
			t.Errorf("no error for %q", line)
		}
	}
}

func TestRatio(t *testing.T) {
	for q, want := range map[float64]string{1.949: "1.95", 0.1: "0.10", 0.0612: "0.061", 0.000123: "< 0.001"} {
		if got := ratio(q); got != want {
			t.Errorf("ratio(%v) = %q, want %q", q, got, want)
		}
	}
}

func TestCostTable(t *testing.T) {
	r := results{}
	for _, v := range []float64{200, 100, 400} { // pairs: 0.25, 1, 0.5
		r.add("TheirsSetState", nsPerOp, v)
		r.add("TheirsSetState", allocsPerOp, 2)
	}
	for _, v := range []float64{50, 100, 200} {
		r.add("OursSetState", nsPerOp, v)
		r.add("OursSetState", allocsPerOp, 0)
	}
	r.add("TheirsBytes", bytesPerNode, 100)
	r.add("OursBytes", bytesPerNode, 60)
	r.add("TheirsStop", nsPerOp, 2e9) // ours is missing
	want := []row{
		{nodeWorks[0].name, "200 ns", "100 ns", "0.50", "0.25–1.00", "≤ 0.45", "2 → 0", "over"},
		{"memory of a node, one flag and one field", "100 B", "60 B", "0.60", "0.60–0.60", "≤ 0.7", "", "ok"},
	}
	got := costTable(nodeWorks, r)
	if len(got) != 3 || !slices.Equal(got[1], want[0]) || !slices.Equal(got[2], want[1]) {
		t.Errorf("got %q", got)
	}
}

func TestGrowthTable(t *testing.T) {
	r := results{}
	add := func(name string, times ...float64) {
		for i, size := range sizes {
			r.add(strings.Replace(name, "*", size, 1), nsPerOp, times[i])
		}
	}
	if growthTable(r) != nil {
		t.Error("a table of nothing")
	}
	add("FloorGrowth/*/Map", 10, 20, 50)
	add("OursGrowth/*/SetState", 100, 200, 499)
	add("OursGrowth/*/Field", 100, 200, 501)
	add("OursGrowth/*/Timeout", 100, 200, 501)
	var verdicts []string
	for _, cells := range growthTable(r)[1:] {
		verdicts = append(verdicts, cells[0]+" "+cells[4]+" "+cells[6])
	}
	want := []string{
		"bare map look-up 5.00 the floor", "ours: SetState 4.99 ok", "ours: uint64 field 5.01 over",
		"ours: timeout, and its cancel 5.01 ok",
	}
	if !slices.Equal(verdicts, want) {
		t.Errorf("got %q, want %q", verdicts, want)
	}
}

func TestQuantity(t *testing.T) {
	for _, test := range []struct {
		v    float64
		unit string
		want string
	}{
		{4.04, nsPerOp, "4 ns"}, {6.44, nsPerOp, "6.4 ns"}, {128.7, nsPerOp, "129 ns"}, {9999.4, nsPerOp, "9999 ns"},
		{9999.6, nsPerOp, "10 µs"}, {746e6, nsPerOp, "746 ms"}, {12.34e9, nsPerOp, "12.3 s"}, {141.7, bytesPerNode, "142 B"},
	} {
		if got := quantity(test.v, test.unit); got != test.want {
			t.Errorf("quantity(%v) = %q, want %q", test.v, got, test.want)
		}
	}
	if got := grouped("1000000") + " " + grouped("100") + " " + grouped("1000"); got != "1,000,000 100 1,000" {
		t.Errorf("grouped: %q", got)
	}
}

// Every benchmark that the tables need exists, and every one that exists is on
// a table.
func TestTablesNameTheBenchmarks(t *testing.T) {
	want := map[string]bool{}
	for _, s := range suites {
		for _, task := range s.plan(regexp.MustCompile("."), true) {
			name, _, _ := strings.Cut(task.benchmark, "/")
			want[name] = true
		}
	}
	files, err := filepath.Glob("../*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	found := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^func Benchmark(\w+)\(`).FindAllSubmatch(text, -1) {
			found[string(match[1])] = true
			if !want[string(match[1])] {
				t.Errorf("%s: Benchmark%s is on no table", file, match[1])
			}
		}
	}
	for name := range want {
		if !found[name] {
			t.Errorf("there is no Benchmark%s", name)
		}
	}
}

func TestPlanTakesTurns(t *testing.T) {
	tasks := suites[0].plan(regexp.MustCompile("^(Field|Stop)$"), false)[len(floors):]
	want := []task{{"TheirsField", false}, {"OursField", false}, {"TheirsStop", true}, {"OursStop", true}}
	if !slices.Equal(tasks, want) {
		t.Errorf("got %v", tasks)
	}
	if got := pattern("OursGrowth/1000"); got != "^BenchmarkOursGrowth$/^1000$" {
		t.Errorf("pattern: %s", got)
	}
}

func TestChooseSuites(t *testing.T) {
	for name, want := range map[string]int{"all": 2, "nodestate": 1, "serving": 1, "other": 0} {
		got, err := chooseSuites(name)
		if len(got) != want || (err == nil) != (want > 0) {
			t.Errorf("%s: %d suites, error %v", name, len(got), err)
		}
		if want == 1 && got[0].name != name {
			t.Errorf("%s: got %s", name, got[0].name)
		}
	}
	tasks := suites[1].plan(regexp.MustCompile("^Flood$"), true)
	if !slices.Equal(tasks, []task{{"TheirsFlood", false}, {"OursFlood", false}}) {
		t.Errorf("got %v", tasks)
	}
}

func TestRecord(t *testing.T) {
	s := suite{title: "A title", file: "FILE.md"}
	dir := t.TempDir()
	for _, folder := range []string{"", dir} {
		if err := s.record(folder, "a table"); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, s.file))
	if err != nil || !strings.HasPrefix(string(text), "# A title\n") || !strings.HasSuffix(string(text), "a table") {
		t.Errorf("recorded %q, error %v", text, err)
	}
}

func TestReport(t *testing.T) {
	r := results{}
	r.add("FloorMutex", nsPerOp, 12)
	text := suites[0].report(r, "A machine", 6)
	if !strings.HasPrefix(text, "A machine. Medians of 6 runs") || !strings.Contains(text, "| 12 ns |") {
		t.Errorf("got\n%s", text)
	}
	if strings.Contains(text, "| work") {
		t.Error("an empty table is shown")
	}
}
