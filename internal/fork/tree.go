package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// tree is a module on disk: that of the fork.
type tree struct {
	root      string
	module    string
	goVersion string // of the go line, may be empty
}

// findTree returns the module in which a folder lies that need not exist, nil if
// there is none.
func findTree(folder string) (*tree, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	for {
		text, err := os.ReadFile(filepath.Join(folder, "go.mod"))
		if err == nil {
			m := parseModule(string(text))
			return &tree{folder, m.path, m.goVersion}, nil
		}
		up := filepath.Dir(folder)
		if up == folder {
			return nil, nil
		}
		folder = up
	}
}

// packageName returns the name of the package in a folder of the tree. It is not
// ok if there is none.
func (t *tree) packageName(folder string) (name string, ok bool) {
	for _, f := range t.files(folder, parser.PackageClauseOnly) {
		if f.Name.Name != "documentation" { // by convention no part of the package
			return f.Name.Name, true
		}
	}
	return "", false
}

// declares tells whether a package of the tree has a function of that name.
func (t *tree) declares(folder, function string) bool {
	for _, f := range t.files(folder, parser.SkipObjectResolution) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == function {
				return true
			}
		}
	}
	return false
}

// files parses the files of a folder that are no tests, as far as they parse.
func (t *tree) files(folder string, mode parser.Mode) (files []*ast.File) {
	names, _ := filepath.Glob(filepath.Join(t.root, filepath.FromSlash(folder), "*.go"))
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if f, err := parser.ParseFile(token.NewFileSet(), name, nil, mode); err == nil {
			files = append(files, f)
		}
	}
	return files
}

// module is what a go.mod says, as far as it matters here.
type module struct {
	path, goVersion string
	requires        []string // "path version", without the indirect ones
}

func parseModule(text string) (m module) {
	block := ""
	for line := range strings.Lines(text) {
		line, comment, _ := strings.Cut(line, "//")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			continue
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		case words[0] == ")":
			block = ""
			continue
		case block != "":
			words = append([]string{block}, words...)
		}
		switch {
		case words[0] == "module" && len(words) == 2:
			m.path = strings.Trim(words[1], "\"`")
		case words[0] == "go" && len(words) == 2:
			m.goVersion = words[1]
		case words[0] == "require" && len(words) == 3 && strings.TrimSpace(comment) != "indirect":
			m.requires = append(m.requires, words[1]+" "+words[2])
		}
	}
	return m
}

// requirement returns the module that has a package, with its version.
func (m module) requirement(imported string) (require string, ok bool) {
	for _, r := range m.requires {
		name, _, _ := strings.Cut(r, " ")
		if imported == name || strings.HasPrefix(imported, name+"/") {
			return r, true
		}
	}
	return "", false
}
