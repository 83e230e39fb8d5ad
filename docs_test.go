package lespool

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Go code in Markdown files is compiled, by one rule. A block that begins with
// a package clause is a whole file. Any other block is the body of a function:
// the packages in fragmentImports are imported when it names them, variables
// that it does not use are no error, and what it takes for granted is declared
// as parameters in a comment right above it, which readers don't see:
//
//	<!-- go: srv *p2p.Server, db ethdb.KeyValueStore -->
var fragmentImports = []string{
	"context", "errors", "fmt", "net", "os", "time",
	geth + "common/mclock", geth + "ethdb", geth + "ethdb/leveldb", geth + "log", geth + "p2p",
	geth + "p2p/discover", geth + "p2p/dnsdisc", geth + "p2p/enode", geth + "p2p/enr",
	geth + "rlp", geth + "rpc",
	module + "/nodestate", module + "/lespay", module + "/udpquery", module + "/serverpool",
}

func TestMarkdownCodeCompiles(t *testing.T) {
	var blocks []codeBlock
	for _, name := range markdownFiles(t) {
		blocks = append(blocks, codeBlocks(name, readFile(t, name))...)
	}
	if out, err := compile(t, blocks); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestMarkdownLinksResolve(t *testing.T) {
	for _, name := range markdownFiles(t) {
		for _, complaint := range checkLinks(name, readFile(t, name)) {
			t.Error(complaint)
		}
	}
}

// What MIGRATING.md has its reader type changes the imports, under the names that
// the code uses, and nothing else.
func TestMigratingChangesImports(t *testing.T) {
	_, script, found := strings.Cut(readFile(t, "MIGRATING.md"), "```sh\n   perl")
	script, _, closed := strings.Cut("perl"+script, "```")
	if !found || !closed {
		t.Fatal("no commands")
	}
	for _, program := range []string{"sh", "perl", "gofmt"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	const code = "package les\n\nimport (\n\t\"fmt\"\n\n\t%s\n)\n\nvar _ = fmt.Sprint(vfc.New, vflux.New, vfs.New, \"les/vflux\")\n"
	old := geth + "les/vflux"
	dir := t.TempDir()
	file := filepath.Join(dir, "les", "client.go")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "vflux "} { // its name is that of its path
		imports := fmt.Sprintf("%s%q\n\tvfc %q\n\tvfs %q", name, old, old+"/client", old+"/server")
		if err := os.WriteFile(file, fmt.Appendf(nil, code, imports), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		want := fmt.Sprintf(code, fmt.Sprintf("vfs %q\n\tvfc %q\n\tvflux %q",
			module+"/lespay/server", module+"/serverpool", module+"/udpquery"))
		if got := readFile(t, file); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// The project speaks of itself: no path of somebody's machine, no page that a
// reader cannot open.
func TestTextsNameOnlyWhatReadersHave(t *testing.T) {
	files := treeFiles(t)
	documents := make(map[string]bool)
	for _, name := range files {
		documents[path.Base(name)] = true
	}
	for _, name := range append(files, ".ci/run", ".golangci.yml", ".gitignore") {
		if strings.HasSuffix(name, ".sum") || name == "repo_self_test.go" {
			continue
		}
		for _, complaint := range checkNames(name, readFile(t, name), documents) {
			t.Error(complaint)
		}
	}
}

// ---------------------------------------------------------------------------

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func markdownFiles(t *testing.T) []string {
	return slices.DeleteFunc(treeFiles(t), func(name string) bool { return path.Ext(name) != ".md" })
}

// codeBlock is a Go block of a Markdown file.
type codeBlock struct {
	file   string
	line   int // of the first line of code
	params string
	code   string
}

func codeBlocks(file, text string) (blocks []codeBlock) {
	var params string
	var open *codeBlock
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case open != nil && strings.HasPrefix(trimmed, "```"):
			blocks = append(blocks, *open)
			open, params = nil, ""
		case open != nil:
			open.code += line + "\n"
		case trimmed == "```go":
			open = &codeBlock{file: file, line: i + 2, params: params}
		case strings.HasPrefix(trimmed, "<!-- go:"):
			params = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(trimmed, "<!-- go:"), "-->"))
		case trimmed != "":
			params = ""
		}
	}
	if open != nil {
		blocks = append(blocks, *open)
	}
	return blocks
}

// goFile turns a block into a file that the compiler takes. Line directives
// let its errors name the Markdown file.
func (b codeBlock) goFile() (string, error) {
	directive := fmt.Sprintf("//line %s:%d\n", b.file, b.line)
	if strings.HasPrefix(strings.TrimSpace(b.code), "package ") {
		return directive + b.code, nil
	}
	head := "package p\n\nfunc _(" + b.params + ") {\n"
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "", head+b.code+"}\n", 0)
	if err != nil {
		return "", fmt.Errorf("%s:%d: %w", b.file, b.line, err)
	}
	named := make(map[string]bool)
	var uses []int // where "_ = name" goes, as offset in the code
	names := make(map[int]string)
	body := f.Decls[0].(*ast.FuncDecl).Body
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok {
				named[id.Name] = true
			}
		}
		return true
	})
	for _, stmt := range body.List {
		for _, name := range defined(stmt) {
			at := fset.Position(stmt.End()).Offset - len(head)
			uses = append(uses, at)
			names[at] += "; _ = " + name
		}
	}
	code := b.code
	slices.Sort(uses)
	uses = slices.Compact(uses)
	for _, at := range slices.Backward(uses) {
		code = code[:at] + names[at] + code[at:]
	}
	var imports strings.Builder
	for _, p := range fragmentImports {
		if named[path.Base(p)] {
			fmt.Fprintf(&imports, "import %q\n", p)
		}
	}
	head = "package p\n" + imports.String() + "func _(" + b.params + ") {\n"
	return head + directive + code + "}\n", nil
}

// defined returns the variables that a statement declares.
func defined(stmt ast.Stmt) (names []string) {
	var idents []ast.Expr
	switch s := stmt.(type) {
	case *ast.AssignStmt:
		if s.Tok == token.DEFINE {
			idents = s.Lhs
		}
	case *ast.DeclStmt:
		for _, spec := range s.Decl.(*ast.GenDecl).Specs {
			if vs, ok := spec.(*ast.ValueSpec); ok {
				for _, id := range vs.Names {
					idents = append(idents, id)
				}
			}
		}
	}
	for _, e := range idents {
		if id, ok := e.(*ast.Ident); ok && id.Name != "_" {
			names = append(names, id.Name)
		}
	}
	return names
}

// compile builds the blocks, each as a package of its own in a folder that
// exists in the build's overlay only.
func compile(t *testing.T, blocks []codeBlock) (output string, err error) {
	t.Helper()
	if len(blocks) == 0 {
		return "", nil
	}
	dir, root := t.TempDir(), must(filepath.Abs("."))
	replace := make(map[string]string)
	args := []string{"build", "-o", os.DevNull, "-overlay", filepath.Join(dir, "overlay.json")}
	for i, b := range blocks {
		text, err := b.goFile()
		if err != nil {
			return "", err
		}
		if strings.Contains(text, module+"/internal/") {
			return "", fmt.Errorf("%s:%d: a reader cannot import internal packages", b.file, b.line)
		}
		name := fmt.Sprintf("zz_block%d", i)
		onDisk := filepath.Join(dir, name+".go")
		if err := os.WriteFile(onDisk, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, name, "block.go")] = onDisk
		args = append(args, "./"+name)
	}
	overlay := must(json.Marshal(map[string]any{"Replace": replace}))
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", args...).CombinedOutput()
	return string(out), err
}

var markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func checkLinks(name, text string) (complaints []string) {
	for _, m := range markdownLink.FindAllStringSubmatch(text, -1) {
		target, _, _ := strings.Cut(m[1], "#")
		if target == "" || strings.Contains(target, ":") {
			continue // within the page, or elsewhere
		}
		if _, err := os.Stat(filepath.Join(path.Dir(name), target)); err != nil {
			complaints = append(complaints, fmt.Sprintf("%s: broken link to %s", name, m[1]))
		}
	}
	return complaints
}

var (
	machinePath  = regexp.MustCompile(`(?:^|[\s"'(=:,])(/(?:work|home|root|Users)/\S*)`)
	documentName = regexp.MustCompile(`(?:^|[^\w*.])([\w-]+\.md)\b`)
	trackerEntry = regexp.MustCompile(`(?i)\b(issue|ticket) ?#\d+`)
)

func checkNames(name, text string, documents map[string]bool) (complaints []string) {
	for i, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", name, i+1)
		for _, m := range machinePath.FindAllStringSubmatch(line, -1) {
			complaints = append(complaints, at+": path of one machine: "+m[1])
		}
		for _, m := range documentName.FindAllStringSubmatch(line, -1) {
			if !documents[m[1]] {
				complaints = append(complaints, at+": a page that is not here: "+m[1])
			}
		}
		if m := trackerEntry.FindString(line); m != "" {
			complaints = append(complaints, at+": entry of a tracker: "+m)
		}
	}
	return complaints
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
