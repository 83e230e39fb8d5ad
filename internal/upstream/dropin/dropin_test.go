package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/behaviours.md anew, with the reasons that are there")

const table = "testdata/behaviours.md"

// row is a line of the table.
type row struct{ behaviour, theirs, ours, reason string }

// The same glue behaves the same with both, but where the table gives a reason.
func TestSameGlueSameBehaviour(t *testing.T) {
	var theirs, ours []string
	var wg sync.WaitGroup
	wg.Go(func() { theirs = run(t, "-tags", "predecessor") })
	wg.Go(func() { ours = run(t) })
	wg.Wait()
	if t.Failed() {
		return
	}
	if len(theirs) != len(ours) {
		t.Fatalf("%d behaviours with theirs, %d with ours", len(theirs), len(ours))
	}
	reasons := make(map[string]string)
	golden := readTable(t)
	for _, r := range golden {
		reasons[r.behaviour] = r.reason
	}
	var rows []row
	for i := range ours {
		behaviour, our, _ := strings.Cut(ours[i], "\t")
		other, their, _ := strings.Cut(theirs[i], "\t")
		if other != behaviour {
			t.Fatalf("line %d is %q with theirs, %q with ours", i, other, behaviour)
		}
		r := row{behaviour, their, our, reasons[behaviour]}
		if differ := r.theirs != r.ours; differ != (r.reason != "") {
			t.Errorf("%s: theirs %q, ours %q, reason %q", behaviour, their, our, r.reason)
		}
		rows = append(rows, r)
	}
	if *update {
		writeTable(t, rows)
		return
	}
	if len(rows) != len(golden) {
		t.Errorf("%d behaviours, %d in the table", len(rows), len(golden))
	}
	for i := range min(len(rows), len(golden)) {
		if rows[i] != golden[i] {
			t.Errorf("in the table:\n%+v\nnow:\n%+v", golden[i], rows[i])
		}
	}
}

// run builds the command and returns the lines it prints.
func run(t *testing.T, flags ...string) []string {
	binary := filepath.Join(t.TempDir(), "dropin")
	args := append([]string{"build", "-o", binary, "-ldflags=-checklinkname=0"}, flags...)
	if output, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Errorf("go build %v: %v\n%s", flags, err, output)
		return nil
	}
	cmd := exec.CommandContext(t.Context(), binary)
	var messages strings.Builder
	cmd.Stderr = &messages
	output, err := cmd.Output()
	if err != nil {
		t.Errorf("%v: %v\n%s", flags, err, messages.String())
	}
	return strings.Split(strings.TrimSpace(string(output)), "\n")
}

const tableHead = `# What the glue of a light client and a light server sees

Of go-ethereum v1.13.5's pools and of this project's, by the same source. Where they
differ, the reason is given.

| behaviour | v1.13.5 | lespool | why |
|---|---|---|---|
`

func readTable(t *testing.T) (rows []row) {
	text, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "|---|---|---|---|\n")
	for line := range strings.Lines(body) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) != 4 {
			t.Fatalf("%d cells: %s", len(cells), line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, row{cells[0], cells[1], cells[2], cells[3]})
	}
	return rows
}

func writeTable(t *testing.T, rows []row) {
	text := tableHead
	for _, r := range rows {
		text += fmt.Sprintf("| %s | %s | %s | %s |\n", r.behaviour, r.theirs, r.ours, r.reason)
	}
	if err := os.WriteFile(table, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The two files through which the pools come in are one file but for the paths.
func TestOnlyImportPathsDiffer(t *testing.T) {
	theirNames, theirRest := parts(t, "imports_predecessor.go")
	ourNames, ourRest := parts(t, "imports_lespool.go")
	if !slices.Equal(theirNames, ourNames) || len(ourNames) != 3 {
		t.Errorf("imports %v and %v", theirNames, ourNames)
	}
	if theirRest != ourRest {
		t.Errorf("%s\nand\n%s", theirRest, ourRest)
	}
}

// parts returns the names of what a file imports, and its lines without the
// imports and the build tag.
func parts(t *testing.T, file string) (imports []string, rest string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, _, isImport := strings.Cut(line, ` "github.com/`)
		switch {
		case isImport:
			imports = append(imports, strings.TrimSpace(name))
		case !strings.HasPrefix(line, "//go:build"):
			rest += line
		}
	}
	slices.Sort(imports)
	return imports, rest
}
