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
	lru    = "github.com/hashicorp/golang-lru/v2"
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
	{folder: "internal/fork"},
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
			geth + "rlp", lru, lru + "/simplelru",
		},
	},
	{
		folder: "lespay/server",
		module: []string{"internal/invariants", "lespay"},
		outside: []string{
			geth + "common/mclock", geth + "log", geth + "p2p/enode", geth + "rlp",
			lru + "/simplelru",
		},
	},
	{
		folder: "udpquery",
		module: []string{"internal/wrs"},
		outside: []string{
			geth + "common/mclock", geth + "log", geth + "p2p/enode", geth + "p2p/enr",
			geth + "rlp", lru, lru + "/simplelru",
		},
	},
	{
		folder: "serverpool",
		module: []string{"nodestate", "lespay", "internal/wrs"},
		outside: []string{
			geth + "common/mclock", geth + "ethdb", geth + "log", geth + "p2p/enode",
			geth + "p2p/enr", geth + "p2p/netutil", geth + "rlp",
			lru, lru + "/simplelru",
		},
	},
	{
		folder: "internal/testutil",
		outside: []string{
			geth + "common/mclock", geth + "crypto", geth + "ethdb", geth + "ethdb/memorydb",
			geth + "p2p/enode", geth + "p2p/enr",
		},
	},
	{
		folder:  "internal/testutil/simnet",
		outside: []string{geth + "common/mclock", geth + "p2p/enode", geth + "p2p/enr"},
	},
	{folder: "internal/testutil/dnstest", outside: []string{"github.com/miekg/dns"}},
	{folder: "examples/...", module: []string{"..."}, outside: []string{geth + "..."}},
}

// openers are files that may import more than their folder: they open a store, or
// connect packages that otherwise know nothing of each other.
var openers = map[string][]string{
	"serverpool/open.go":       {geth + "ethdb/leveldb", geth + "ethdb/memorydb"},
	"lespay/server/service.go": {"udpquery"},
	"lespay/server/compat.go":  {"udpquery", geth + "ethdb"},
}

// core lists the folders in which decisions are pure: the time is an argument,
// the randomness a field, and nothing starts a goroutine, except in the files
// of shell.
var core = []string{"internal/wrs", "nodestate", "lespay", "lespay/server", "udpquery", "serverpool"}

// shell lists the files of those folders that need not be pure, and why. One
// that has become pure leaves the list.
var shell = map[string]string{
	"lespay/config.go":         "the default clocks",
	"lespay/server/config.go":  "the default clock",
	"nodestate/load.go":        "stored nodes are decoded on all cores",
	"nodestate/machine.go":     "the default clock",
	"serverpool/config.go":     "the default clocks and seed",
	"serverpool/dialer.go":     "deadlines of sockets are wall time",
	"serverpool/group.go":      "starts and awaits the pool's goroutines",
	"serverpool/selector.go":   "the constructor of existing clients has no seed",
	"udpquery/client.go":       "a goroutine for each query under way",
	"udpquery/clientconfig.go": "the default clock",
	"udpquery/server.go":       "a goroutine for the batch being served; default clock and seed",
}

// impure names what a pure file must not use, by import path. The star stands
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

func TestDecisionsArePure(t *testing.T) {
	impureShells := make(map[string]bool)
	for _, f := range sourceFiles(t) {
		complaints := checkPurity(f)
		if shell[f.name] != "" {
			impureShells[f.name] = len(complaints) > 0
		} else if slices.Contains(core, path.Dir(f.name)) {
			for _, complaint := range complaints {
				t.Error(complaint)
			}
		}
	}
	for name := range shell {
		if impure, found := impureShells[name]; !found || !impure {
			t.Errorf("%s (found: %v) need not be on the list of shells", name, found)
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
			allowed := slices.Concat(row.outside, openers[f.name])
			switch {
			case isOurs:
				allowed, imported = slices.Concat(row.module, openers[f.name]), ours
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
			complain(n, "starts a goroutine")
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if !ok || pkg.Obj != nil { // Obj: a local variable hides the package
				return true
			}
			p := imported[pkg.Name]
			if isImpure(p, n.Sel.Name) {
				complain(n, "uses %s.%s", p, n.Sel.Name)
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
