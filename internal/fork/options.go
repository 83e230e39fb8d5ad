package main

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	ours = "github.com/lespool/lespool"
	geth = "github.com/ethereum/go-ethereum"
)

// options is what the user says.
type options struct {
	module  string // of the fork
	out     string // folder
	at      string // folder within the module, with slashes; may be empty
	renames []rename
}

// rename says that a folder of go-ethereum is another one in the fork. Both are
// paths below the module, with slashes.
type rename struct{ from, to string }

var errArgument = errors.New("wrong argument")

func argumentError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errArgument, fmt.Sprintf(format, args...))
}

var importPath = regexp.MustCompile(`^[\w.~-]+(/[\w.~-]+)*$`)

// isPath tells whether s can be a module's path or a folder below one.
func isPath(s string) bool {
	if !importPath.MatchString(s) {
		return false
	}
	for element := range strings.SplitSeq(s, "/") {
		if strings.Trim(element, ".") != element { // ".", "..", hidden, and what Windows has no name for
			return false
		}
	}
	return true
}

func parseRenames(list string) (renames []rename, err error) {
	if list == "" {
		return nil, nil
	}
	from, to := make(map[string]bool), make(map[string]bool)
	for pair := range strings.SplitSeq(list, ",") {
		old, new, ok := strings.Cut(strings.TrimSpace(pair), "=")
		switch {
		case !ok || !isPath(old) || !isPath(new):
			return nil, argumentError("RENAME has %q, which is not OLD=NEW with two folders", pair)
		case from[old] || to[new]:
			return nil, argumentError("RENAME has %q and another pair with the same folder", pair)
		}
		from[old], to[new] = true, true
		renames = append(renames, rename{old, new})
	}
	return renames, nil
}

// check returns what is wrong with the options themselves.
func (o options) check() error {
	switch {
	case o.module == "":
		return argumentError("MODULE is missing, the module path of the fork")
	case !isPath(o.module):
		return argumentError("MODULE %q is not a module path", o.module)
	case o.out == "":
		return argumentError("OUT is missing, the folder to write to")
	case o.at != "" && !isPath(o.at):
		return argumentError("AT %q is not a folder below a module, with slashes", o.at)
	}
	return nil
}

// home returns the import path at which the copy will be found. t is the tree in
// which OUT lies, nil if that is none.
func (o options) home(t *tree) (string, error) {
	out, err := filepath.Abs(o.out)
	if err != nil {
		return "", err
	}
	at := o.at
	switch {
	case t != nil && t.module != o.module:
		return "", argumentError("OUT %s lies in the module %s, not in %s", o.out, t.module, o.module)
	case t != nil:
		inside, err := filepath.Rel(t.root, out)
		if err != nil {
			return "", err
		}
		inside = filepath.ToSlash(inside)
		if at != "" && at != inside {
			return "", argumentError("AT is %s, but OUT lies at %s of the module", at, inside)
		}
		at = inside
	case at == "":
		at = filepath.Base(out)
	}
	if !isPath(at) {
		return "", argumentError("the copy cannot lie at %q of the module", at)
	}
	return o.module + "/" + at, nil
}

// renamed returns the fork's folder for one of go-ethereum's. The longest of the
// renames that fit decides.
func (o options) renamed(folder string) string {
	var best rename
	for _, r := range o.renames {
		if (folder == r.from || strings.HasPrefix(folder, r.from+"/")) && len(r.from) > len(best.from) {
			best = r
		}
	}
	if best.from == "" {
		return folder
	}
	return best.to + strings.TrimPrefix(folder, best.from)
}

// below cuts a module's path off an import path.
func below(module, imported string) (folder string, ok bool) {
	return strings.CutPrefix(imported, module+"/")
}

// usualName is the name of the package in a folder, if nobody says otherwise.
func usualName(folder string) string { return path.Base(folder) }
