package main

import (
	"errors"
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
)

// public lists the packages that users import. What they need comes along.
var public = []string{"nodestate", "lespay", "lespay/server", "udpquery", "serverpool"}

// pkg is a package of the library as it lies on disk.
type pkg struct {
	folder string // below the root, with slashes
	files  []*goFile
	data   map[string][]byte // its test data by path below the root
	idents map[string]bool   // every identifier in it
}

// goFile is a parsed file.
type goFile struct {
	name string // below the root, with slashes
	text []byte
	fset *token.FileSet
	ast  *ast.File
}

func (f *goFile) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

// imports returns the paths that the file imports.
func (f *goFile) imports() (paths []string) {
	for _, spec := range f.ast.Imports {
		paths = append(paths, importOf(spec))
	}
	return paths
}

func importOf(spec *ast.ImportSpec) string { return strings.Trim(spec.Path.Value, "\"`") }

// readLibrary reads the packages to copy, in order of their folders.
func readLibrary(root string) ([]*pkg, error) {
	var packages []*pkg
	seen := make(map[string]bool)
	for queue := slices.Clone(public); len(queue) > 0; {
		folder := queue[0]
		queue = queue[1:]
		if seen[folder] {
			continue
		}
		seen[folder] = true
		p, err := readPackage(root, folder)
		if err != nil {
			return nil, err
		}
		packages = append(packages, p)
		for _, f := range p.files {
			for _, imported := range f.imports() {
				if folder, ok := below(ours, imported); ok {
					queue = append(queue, folder)
				}
			}
		}
	}
	slices.SortFunc(packages, func(a, b *pkg) int { return strings.Compare(a.folder, b.folder) })
	return packages, nil
}

func readPackage(root, folder string) (*pkg, error) {
	p := &pkg{folder: folder, data: make(map[string][]byte), idents: make(map[string]bool)}
	entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(folder)))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		switch {
		case e.IsDir() && e.Name() == "testdata":
			err = p.readData(root, name)
		case !e.IsDir() && path.Ext(name) == ".go":
			err = p.readFile(root, name)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(p.files) == 0 {
		return nil, fmt.Errorf("no Go files in %s", folder)
	}
	return p, nil
}

func (p *pkg) readFile(root, name string) error {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	f := &goFile{name: name, text: text, fset: token.NewFileSet()}
	if f.ast, err = parser.ParseFile(f.fset, name, text, parser.ParseComments); err != nil {
		return err
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			p.idents[id.Name] = true
		}
		return true
	})
	p.files = append(p.files, f)
	return nil
}

func (p *pkg) readData(root, folder string) error {
	return fs.WalkDir(os.DirFS(root), folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		p.data[name], err = os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		return err
	})
}

// gethFolders returns the folders of go-ethereum that the packages import, in
// order, with one of the files that do.
func gethFolders(packages []*pkg) (folders []string, usedBy map[string]string) {
	usedBy = make(map[string]string)
	for _, p := range packages {
		for _, f := range p.files {
			for _, imported := range f.imports() {
				folder, ok := below(geth, imported)
				if !ok {
					continue
				}
				if usedBy[folder] == "" || strings.HasSuffix(usedBy[folder], "_test.go") {
					usedBy[folder] = f.name
				}
				folders = append(folders, folder)
			}
		}
	}
	slices.Sort(folders)
	return slices.Compact(folders), usedBy
}

var errNotTheRoot = errors.New("this is not the root of " + ours)

// readModule reads the go.mod of the library.
func readModule(root string) (module, error) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return module{}, errNotTheRoot
	}
	m := parseModule(string(text))
	if m.path != ours {
		return module{}, errNotTheRoot
	}
	return m, nil
}
