package main

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// copied is a copy that is ready to be written.
type copied struct {
	target
	tree     *tree
	packages []string          // folders
	files    map[string][]byte // by path below OUT, with slashes
	leftOut  []string          // test files, with reasons
	needs    []string          // modules that the packages need beside the fork
	testNeed []string          // that only tests need
}

// oldSign is a function that go-ethereum has since v1.14, in package log.
const oldSign = "SetDefault"

// plan reads the library and works out the copy.
func plan(root string, o options) (*copied, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	mod, err := readModule(root)
	if err != nil {
		return nil, err
	}
	packages, err := readLibrary(root)
	if err != nil {
		return nil, err
	}
	c := &copied{target: target{options: o, constraint: goConstraint(mod.goVersion)}, files: make(map[string][]byte)}
	if c.tree, err = findTree(o.out); err != nil {
		return nil, err
	}
	if c.home, err = o.home(c.tree); err != nil {
		return nil, err
	}
	folders, usedBy := gethFolders(packages)
	if err := checkRenames(o.renames, folders); err != nil {
		return nil, err
	}
	missing, err := c.lookAtTree(folders, usedBy)
	if err != nil {
		return nil, err
	}
	for _, p := range packages {
		if err := c.add(p, missing); err != nil {
			return nil, err
		}
	}
	c.requirements(mod, packages)
	license, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	c.files["LICENSE"] = license
	return c, err
}

// goConstraint turns a Go version such as 1.25.0 into a build constraint.
func goConstraint(version string) string {
	parts := strings.Split(version, ".")
	return "go" + strings.Join(parts[:min(len(parts), 2)], ".")
}

// checkRenames refuses a rename that would change nothing.
func checkRenames(renames []rename, folders []string) error {
	for _, r := range renames {
		used := func(f string) bool { return f == r.from || strings.HasPrefix(f, r.from+"/") }
		if !slices.ContainsFunc(folders, used) {
			return argumentError("RENAME has %s, which the library does not import; it imports %s",
				r.from, strings.Join(folders, ", "))
		}
	}
	return nil
}

// lookAtTree finds the fork's packages. missing holds the folders of go-ethereum
// that the fork does not have and that only tests need.
func (c *copied) lookAtTree(folders []string, usedBy map[string]string) (missing map[string]bool, err error) {
	missing = make(map[string]bool)
	if c.tree == nil {
		return missing, nil
	}
	c.names = make(map[string]string)
	for _, folder := range folders {
		theirs := c.renamed(folder)
		name, ok := c.tree.packageName(theirs)
		switch {
		case ok:
			c.names[theirs] = name
		case strings.HasSuffix(usedBy[folder], "_test.go"):
			missing[folder] = true
		default:
			return nil, fmt.Errorf("%s has no package %s, which %s imports; if its name is another one there, say RENAME=%s=NEW",
				c.tree.root, theirs, usedBy[folder], folder)
		}
	}
	old := !c.tree.declares(c.renamed("log"), oldSign)
	c.old = &old
	return missing, nil
}

// add takes a package into the copy.
func (c *copied) add(p *pkg, missing map[string]bool) error {
	c.packages = append(c.packages, p.folder)
	out := c.leaveOut(p, missing)
	for _, f := range p.files {
		if why := out[f]; why != "" {
			c.leftOut = append(c.leftOut, f.name+": "+why)
			continue
		}
		text, err := c.rewrite(f, p.idents)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		c.files[f.name] = text
	}
	for name, data := range p.data {
		c.files[name] = data
	}
	return nil
}

// aboutProject lists tests that look at the files of this project.
var aboutProject = map[string]string{
	"lespay/server/defects_test.go": "is about the tests of the project, all of which have to be there",
}

// leaveOut returns the tests of a package that cannot work in the fork, with the
// reason: they need what it does not have, or others that are left out.
func (c *copied) leaveOut(p *pkg, missing map[string]bool) map[*goFile]string {
	out := make(map[*goFile]string)
	for _, f := range p.files {
		if !f.isTest() {
			continue
		}
		if _, expr := buildLine(f.ast); expr != nil {
			if yes, _ := c.belongs(expr); !yes {
				out[f] = "made for another version of go-ethereum"
			}
		}
		if why := aboutProject[f.name]; why != "" {
			out[f] = why
		}
		for _, imported := range f.imports() {
			if folder, ok := below(geth, imported); ok && missing[folder] {
				out[f] = "needs " + c.renamed(folder)
			}
		}
	}
	for grown := len(out) > 0; grown; {
		grown = false
		declared, gone := make(map[string]bool), make(map[string]bool)
		for _, f := range p.files {
			into := declared
			if out[f] != "" {
				into = gone
			}
			for _, name := range topLevel(f.ast) {
				into[name] = true
			}
		}
		for _, f := range p.files {
			if !f.isTest() || out[f] != "" {
				continue
			}
			for _, id := range f.ast.Unresolved {
				if gone[id.Name] && !declared[id.Name] {
					out[f], grown = "needs "+id.Name+" of a test that is left out", true
				}
			}
		}
	}
	return out
}

// topLevel returns the names that a file declares in its package.
func topLevel(f *ast.File) (names []string) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names = append(names, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, id := range spec.Names {
						names = append(names, id.Name)
					}
				}
			}
		}
	}
	return names
}

// requirements lists the modules that the copy needs beside the fork.
func (c *copied) requirements(mod module, packages []*pkg) {
	byUsers, byTests := make(map[string]bool), make(map[string]bool)
	for _, p := range packages {
		for _, f := range p.files {
			if c.files[f.name] == nil {
				continue
			}
			for _, imported := range f.imports() {
				r, ok := mod.requirement(imported)
				switch {
				case !ok || strings.HasPrefix(imported, geth+"/"):
				case f.isTest() || strings.HasPrefix(p.folder, "internal/testutil"):
					byTests[r] = true
				default:
					byUsers[r] = true
				}
			}
		}
	}
	c.needs = sortedKeys(byUsers)
	for _, r := range sortedKeys(byTests) {
		if !byUsers[r] {
			c.testNeed = append(c.testNeed, r)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
