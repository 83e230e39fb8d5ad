package lespool

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/lespool/lespool"
	geth   = "github.com/ethereum/go-ethereum/"
)

// arrows says what the non-test files of each folder may import beside the
// standard library: packages of this module, and packages of others. A pattern
// that ends in "/..." takes in everything below. A folder without a row is an
// error.
var arrows = []struct {
	folder  string
	module  []string
	outside []string
}{
	{folder: ""},
	{folder: "internal/invariants"},
	{folder: "internal/wrs"},
	{
		folder: "nodestate",
		module: []string{"internal/invariants"},
		outside: []string{
			geth + "common/mclock", geth + "ethdb", geth + "log", geth + "p2p/enode",
			geth + "p2p/enr", geth + "rlp",
		},
	},
	{
		folder: "lespay",
		module: []string{"internal/invariants"},
		outside: []string{
			geth + "common/mclock", geth + "ethdb", geth + "log", geth + "p2p/enode",
			geth + "rlp", "github.com/hashicorp/golang-lru/v2",
		},
	},
	{
		folder: "udpquery",
		module: []string{"internal/wrs"},
		outside: []string{
			geth + "common/mclock", geth + "log", geth + "p2p/enode", geth + "p2p/enr",
			geth + "rlp", "github.com/hashicorp/golang-lru/v2",
		},
	},
	{
		folder: "serverpool",
		module: []string{"nodestate", "lespay", "internal/wrs"},
		outside: []string{
			geth + "common/mclock", geth + "ethdb", geth + "log", geth + "p2p/enode",
			geth + "p2p/enr", geth + "p2p/netutil", geth + "rlp",
			"github.com/hashicorp/golang-lru/v2",
		},
	},
	{
		folder: "internal/testutil",
		outside: []string{
			geth + "common/mclock", geth + "crypto", geth + "ethdb", geth + "ethdb/memorydb",
			geth + "p2p/enode", geth + "p2p/enr",
		},
	},
	{folder: "internal/testutil/dnstest", outside: []string{"github.com/miekg/dns"}},
	{folder: "examples/...", module: []string{"..."}, outside: []string{geth + "..."}},
}

// core lists the files that must stay pure: the time is an argument, the
// randomness a field, and there is no goroutine. A folder ending in "/" stands
// for all its non-test files.
var core = []string{
	"internal/wrs/",
	"nodestate/flags.go",
	"nodestate/field.go",
	"nodestate/op.go",
}

// impure names what a core file must not call, by import path. The star stands
// for everything exported, but for the names in pureRand.
var impure = map[string][]string{
	"time":                   {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	geth + "common/mclock":   {"Now", "System"},
	"math/rand":              {"*"},
	"math/rand/v2":           {"*"},
	"crypto/rand":            {"*"},
	"golang.org/x/time/rate": {"*"},
}

// pureRand is what of math/rand/v2 does not touch the global source.
var pureRand = []string{
	"New", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "PCG", "ChaCha8", "Zipf", "Source",
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, f := range sourceFiles(t) {
		for _, complaint := range checkImports(f) {
			t.Error(complaint)
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	documented := make(map[string]bool)
	for _, f := range sourceFiles(t) {
		folder := path.Dir(f.name)
		documented[folder] = documented[folder] || hasPackageDoc(f)
	}
	for folder, ok := range documented {
		if !ok {
			t.Errorf("%s: no file has a package comment", folder)
		}
	}
}

func TestCoreFilesArePure(t *testing.T) {
	files := sourceFiles(t)
	for _, pattern := range core {
		matched := false
		for _, f := range files {
			if f.name != pattern && !(strings.HasSuffix(pattern, "/") && path.Dir(f.name)+"/" == pattern) {
				continue
			}
			matched = true
			for _, complaint := range checkPurity(f) {
				t.Error(complaint)
			}
		}
		if !matched {
			t.Errorf("%s is listed as a core file and does not exist", pattern)
		}
	}
}

// ---------------------------------------------------------------------------

// source is a parsed file of this module.
type source struct {
	name string // relative to the root, with slashes
	fset *token.FileSet
	ast  *ast.File
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.name, s.fset.Position(n.Pos()).Line)
}

func parse(name string, content any) (source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, content, parser.ParseComments)
	return source{filepath.ToSlash(name), fset, file}, err
}

// sourceFiles returns the module's Go files without the tests.
func sourceFiles(t *testing.T) []source {
	t.Helper()
	var files []source
	for _, name := range treeFiles(t) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parse(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// treeFiles returns the files of the module, relative to the root, in order;
// without testdata and what lies in hidden folders and in modules of their own.
func treeFiles(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			names = append(names, filepath.ToSlash(name))
			return nil
		}
		base := d.Name()
		if name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "bin") {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil && name != "." {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func checkImports(f source) (complaints []string) {
	folder := strings.TrimPrefix(path.Dir(f.name), ".")
	for _, row := range arrows {
		if !matches(row.folder, folder) {
			continue
		}
		for _, spec := range f.ast.Imports {
			imported := strings.Trim(spec.Path.Value, "`\"")
			ours, isOurs := strings.CutPrefix(imported, module+"/")
			allowed := row.outside
			switch {
			case isOurs:
				allowed, imported = row.module, ours
			case !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") && imported != "C":
				continue // standard library
			}
			if !slices.ContainsFunc(allowed, func(p string) bool { return matches(p, imported) }) {
				complaints = append(complaints,
					fmt.Sprintf("%s: %s must not import %s", f.at(spec), folder, imported))
			}
		}
		return complaints
	}
	return []string{fmt.Sprintf("%s: the folder has no row in the table of arrows", f.name)}
}

func matches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(name+"/", prefix)
	}
	return name == pattern
}

func hasPackageDoc(f source) bool {
	if f.ast.Doc == nil {
		return false
	}
	text := f.ast.Doc.Text()
	return strings.HasPrefix(text, "Package "+f.ast.Name.Name+" ") ||
		f.ast.Name.Name == "main" && strings.HasPrefix(text, "Command ")
}

func checkPurity(f source) (complaints []string) {
	complain := func(n ast.Node, format string, args ...any) {
		complaints = append(complaints, f.at(n)+": "+fmt.Sprintf(format, args...))
	}
	imported := make(map[string]string) // local name to path
	for _, spec := range f.ast.Imports {
		p := strings.Trim(spec.Path.Value, "`\"")
		name := path.Base(strings.TrimSuffix(p, "/v2"))
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." {
			complain(spec, "dot import of %s hides what is used", p)
		}
		imported[name] = p
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			complain(n, "a core file starts a goroutine")
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if !ok || pkg.Obj != nil { // Obj: a local variable hides the package
				return true
			}
			p := imported[pkg.Name]
			if isImpure(p, n.Sel.Name) {
				complain(n, "a core file uses %s.%s", p, n.Sel.Name)
			}
		}
		return true
	})
	return complaints
}

func isImpure(importPath, name string) bool {
	if importPath == "math/rand/v2" && slices.Contains(pureRand, name) {
		return false
	}
	banned := impure[importPath]
	return slices.Contains(banned, "*") || slices.Contains(banned, name)
}
