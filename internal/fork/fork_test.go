package main

import (
	"go/format"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWrongArgumentsAreRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "other", "go.mod"), "module example.com/other\n")
	write(t, filepath.Join(dir, "chain", "go.mod"), "module "+acme+" // the fork\n\ngo 1.20\n")
	write(t, filepath.Join(dir, "file"), "")
	out := filepath.Join(dir, "out")
	for _, tt := range []struct {
		about string
		args  []string
		want  string
	}{
		{"nothing", nil, "MODULE is missing"},
		{"no module", []string{"-out", out}, "MODULE is missing"},
		{"no folder", []string{"-module", acme}, "OUT is missing"},
		{"no path", []string{"-module", "github.com/acme chain", "-out", out}, `MODULE "github.com/acme chain" is not a module path`},
		{"path that goes up", []string{"-module", "acme/../chain", "-out", out}, "is not a module path"},
		{"URL", []string{"-module", "https://github.com/acme/chain", "-out", out}, "is not a module path"},
		{"rename without a new name", []string{"-module", acme, "-out", out, "-rename", "ethdb"}, `"ethdb", which is not OLD=NEW`},
		{"rename to nothing", []string{"-module", acme, "-out", out, "-rename", "ethdb="}, "not OLD=NEW"},
		{"empty pair", []string{"-module", acme, "-out", out, "-rename", "ethdb=chaindb,"}, "not OLD=NEW"},
		{"rename twice", []string{"-module", acme, "-out", out, "-rename", "ethdb=a,ethdb=b"}, "same folder"},
		{"two of one name", []string{"-module", acme, "-out", out, "-rename", "ethdb=a,rlp=a"}, "same folder"},
		{"rename of what is not used", []string{"-module", acme, "-out", out, "-rename", "etdb=chaindb"}, "etdb, which the library does not import; it imports common/"},
		{"argument that is none", []string{"-module", acme, "-out", out, "ethdb=chaindb"}, `unexpected argument "ethdb=chaindb"`},
		{"unknown flag", []string{"-modul", acme}, "flag provided but not defined"},
		{"tree of another module", []string{"-module", acme, "-out", filepath.Join(dir, "other", "lespool")}, "lies in the module example.com/other"},
		{"top of the tree", []string{"-module", acme, "-out", filepath.Join(dir, "chain")}, `cannot lie at "."`},
		{"two places", []string{"-module", acme, "-at", "a", "-out", filepath.Join(dir, "chain", "b")}, "AT is a, but OUT lies at b"},
		{"place outside", []string{"-module", acme, "-at", "../a", "-out", out}, `AT "../a" is not a folder`},
		{"tree without the packages", []string{"-module", acme, "-out", filepath.Join(dir, "chain", "lespool")}, "has no package "},
		{"file for a folder", []string{"-module", acme, "-out", filepath.Join(dir, "file")}, "file"},
	} {
		err := run("../..", tt.args, io.Discard, io.Discard)
		require.ErrorContains(t, err, tt.want, tt.about)
		require.NoDirExists(t, out, tt.about)
		require.NoDirExists(t, filepath.Join(dir, "chain", "lespool"), tt.about)
	}
	require.ErrorIs(t, run(dir, []string{"-module", acme, "-out", out}, io.Discard, io.Discard), errNotTheRoot)
}

func TestTheUserIsToldWhatWasDone(t *testing.T) {
	out := filepath.Join(t.TempDir(), "lespool")
	said := mustCopy(t, "-module", acme, "-out", out, "-rename", "ethdb=chaindb,p2p=net/p2p")
	for _, want := range []string{
		"files written to " + out + "\n",
		"imports of github.com/ethereum/go-ethereum now read github.com/acme/chain\n",
		"  ethdb is chaindb\n", "  p2p is net/p2p\n",
		"for the folder lespool of the fork's tree",
		"  github.com/acme/chain/lespool/lespay/server\n",
		"  github.com/hashicorp/golang-lru/v2 v2.0.7\n",
		"  pgregory.net/rapid v1.3.0 (for the tests)\n",
		"go test ./lespool/..., with -tags geth135 where",
	} {
		require.Contains(t, said, want)
	}
	require.Contains(t, mustCopy(t, "-module", acme, "-out", out, "-at", "les/pool"), "  github.com/acme/chain/les/pool/serverpool\n")
}

func TestNothingOfTheOldPathsIsLeft(t *testing.T) {
	out := filepath.Join(t.TempDir(), "lespool")
	mustCopy(t, "-module", acme, "-out", out, "-rename", "ethdb=chaindb")
	license, err := os.ReadFile("../../LICENSE")
	require.NoError(t, err)
	require.Equal(t, string(license), read(t, filepath.Join(out, "LICENSE")))
	require.FileExists(t, filepath.Join(out, "lespay", "testdata", "v1.13.5-database.json"))
	require.NoDirExists(t, filepath.Join(out, "internal", "fork"))

	files := 0
	require.NoError(t, filepath.WalkDir(out, func(name string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".go" {
			return err
		}
		files++
		text := read(t, name)
		head, code, _ := strings.Cut(text, "\n")
		require.Regexp(t, `^// Code generated .* DO NOT EDIT\.$`, head, name)
		require.Regexp(t, `(?m)^//go:build go1\.25`, code, name)
		require.NotContains(t, code, `"`+geth+`/`, name)
		require.NotContains(t, code, `"`+ours+`/`, name)
		require.NotRegexp(t, `\bethdb\.[A-Z]`, withoutComments(code), name)
		return nil
	}))
	require.Greater(t, files, 100)
	if formatted, err := exec.Command("gofmt", "-l", out).CombinedOutput(); err == nil { // not every Go has it in the path
		require.Empty(t, string(formatted))
	}
}

func TestRewriting(t *testing.T) {
	for _, tt := range []struct {
		about   string
		renames string
		names   map[string]string // packages of the fork that were looked at
		code    string
		want    string
	}{
		{"module", "", nil,
			`import "github.com/ethereum/go-ethereum/rlp"; var x = rlp.EmptyList`,
			`import "github.com/acme/chain/rlp"; var x = rlp.EmptyList`},
		{"our own packages", "", nil,
			`import "github.com/lespool/lespool/internal/wrs"`,
			`import "github.com/acme/chain/les/pool/internal/wrs"`},
		{"others stay", "", nil,
			"import `fmt`; import \"github.com/ethereum/go-ethereum-x/rlp\"",
			`import "fmt"; import "github.com/ethereum/go-ethereum-x/rlp"`},
		{"name of a package", "ethdb=chaindb", nil,
			`import "github.com/ethereum/go-ethereum/ethdb"; type s struct { ethdb.Batch; b ethdb.Batch }`,
			`import "github.com/acme/chain/chaindb"; type s struct { chaindb.Batch; b chaindb.Batch }`},
		{"folder below", "ethdb=db/kv", nil,
			`import "github.com/ethereum/go-ethereum/ethdb/memorydb"; var x = memorydb.New()`,
			`import "github.com/acme/chain/db/kv/memorydb"; var x = memorydb.New()`},
		{"the longest rename", "ethdb/memorydb=mem,ethdb=chaindb", nil,
			`import "github.com/ethereum/go-ethereum/ethdb/memorydb"; var x = memorydb.New()`,
			`import "github.com/acme/chain/mem"; var x = mem.New()`},
		{"only whole names", "eth=x,ethdb/mem=y", nil,
			`import "github.com/ethereum/go-ethereum/ethdb/memorydb"`,
			`import "github.com/acme/chain/ethdb/memorydb"`},
		{"code that names the import", "ethdb=chaindb", nil,
			`import db "github.com/ethereum/go-ethereum/ethdb"; var x db.Batch`,
			`import db "github.com/acme/chain/chaindb"; var x db.Batch`},
		{"variable of the old name", "ethdb=chaindb", nil,
			`import "github.com/ethereum/go-ethereum/ethdb"; func f(ethdb struct{ x int }) int { return ethdb.x }; var _ ethdb.Batch`,
			`import "github.com/acme/chain/chaindb"; func f(ethdb struct{ x int }) int { return ethdb.x }; var _ chaindb.Batch`},
		{"field of the old name", "ethdb=chaindb", nil,
			`import "github.com/ethereum/go-ethereum/ethdb"; var _ ethdb.Batch; var y = z{ethdb: 1}.ethdb`,
			`import "github.com/acme/chain/chaindb"; var _ chaindb.Batch; var y = z{ethdb: 1}.ethdb`},
		{"new name that is taken", "ethdb=chaindb", nil,
			`import "github.com/ethereum/go-ethereum/ethdb"; func f(chaindb ethdb.Batch) {}`,
			`import ethdb "github.com/acme/chain/chaindb"; func f(chaindb ethdb.Batch) {}`},
		{"new name that is none", "ethdb=chain-db", nil,
			`import "github.com/ethereum/go-ethereum/ethdb"; var _ ethdb.Batch`,
			`import ethdb "github.com/acme/chain/chain-db"; var _ ethdb.Batch`},
		{"folder that is named otherwise than its package", "ethdb=database", map[string]string{"database": "chaindb"},
			`import "github.com/ethereum/go-ethereum/ethdb"; var _ ethdb.Batch`,
			`import chaindb "github.com/acme/chain/database"; var _ chaindb.Batch`},
		{"package that was renamed in its folder", "", map[string]string{"ethdb": "chaindb"},
			`import "github.com/ethereum/go-ethereum/ethdb"; var _ ethdb.Batch`,
			`import chaindb "github.com/acme/chain/ethdb"; var _ chaindb.Batch`},
		{"package that kept its name in another folder", "ethdb=database", map[string]string{"database": "ethdb"},
			`import "github.com/ethereum/go-ethereum/ethdb"; var _ ethdb.Batch`,
			`import ethdb "github.com/acme/chain/database"; var _ ethdb.Batch`},
	} {
		renames, err := parseRenames(tt.renames)
		require.NoError(t, err, tt.about)
		to := &target{options: options{module: acme, renames: renames}, home: acme + "/les/pool", names: tt.names, constraint: "go1.25"}
		got, err := rewriteText(t, to, "package p; "+tt.code)
		require.NoError(t, err, tt.about)
		require.Equal(t, gofmt(t, "package p; "+tt.want), afterHead(t, got), tt.about)
	}
}

func TestBuildConstraintsAreKept(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		line string
		old  *bool
		want string
	}{
		{"", nil, "//go:build go1.25"},
		{"//go:build invariants", nil, "//go:build go1.25 && invariants"},
		{"//go:build linux || darwin", &no, "//go:build go1.25 && (linux || darwin)"},
		{"//go:build geth135", nil, "//go:build go1.25 && geth135"},
		{"//go:build geth135", &yes, "//go:build go1.25"},
		{"//go:build !geth135", &no, "//go:build go1.25"},
	} {
		to := &target{options: options{module: acme}, constraint: "go1.25", old: tt.old}
		got, err := rewriteText(t, to, "// Words.\n\n"+tt.line+"\n\n// Package p is.\npackage p\n")
		require.NoError(t, err)
		require.Contains(t, string(got), "\n"+tt.want+"\n")
		require.Equal(t, 1, strings.Count(string(got), "//go:build"), tt.line)
		require.Contains(t, string(got), "\n\n// Package p is.\npackage p\n")
	}
}

func TestForeignFilesAreNotOverwritten(t *testing.T) {
	out := filepath.Join(t.TempDir(), "lespool")
	name := filepath.Join(out, "serverpool", "pool.go")
	other := filepath.Join(out, "serverpool", "mine.go")
	args := []string{"-module", acme, "-out", out}
	write(t, name, "package serverpool\n")
	write(t, other, "package serverpool\n")
	err := run("../..", args, io.Discard, io.Discard)
	require.ErrorIs(t, err, errInTheWay)
	require.ErrorContains(t, err, name)
	require.NotContains(t, err.Error(), other)
	require.NoFileExists(t, filepath.Join(out, "LICENSE"), "nothing is written if anything is in the way")
	require.NoError(t, os.Remove(name))

	mustCopy(t, args...)
	mustCopy(t, args...)                                // again
	mustCopy(t, append(args, "-rename", "rlp=code")...) // and with other contents
	require.Contains(t, read(t, filepath.Join(out, "lespay", "store.go")), acme+"/code")
	require.Equal(t, "package serverpool\n", read(t, other))

	before := read(t, name)
	write(t, name, before+"// changed\n")
	require.ErrorContains(t, run("../..", args, io.Discard, io.Discard), name)
	require.Contains(t, read(t, filepath.Join(out, "lespay", "store.go")), acme+"/code", "nothing was changed")
	write(t, name, before)
	mustCopy(t, args...)
}

func TestFilesThatTheLibraryNoLongerHas(t *testing.T) {
	out := filepath.Join(t.TempDir(), "lespool")
	args := []string{"-module", acme, "-out", out}
	mustCopy(t, args...)
	gone, kept := filepath.Join(out, "lespay", "gone.go"), filepath.Join(out, "..", "outside")
	write(t, gone, "package lespay\n")
	write(t, kept, "package lespay\n")
	list := filepath.Join(out, sums)
	write(t, list, read(t, list)+checksum([]byte("package lespay\n"))+"  lespay/gone.go\n"+
		checksum([]byte("package lespay\n"))+"  ../outside\n")
	mustCopy(t, args...)
	require.NoFileExists(t, gone)
	require.FileExists(t, kept, "what the list says of other folders is not believed")

	write(t, gone, "package lespay // changed\n")
	write(t, list, read(t, list)+checksum([]byte("package lespay\n"))+"  lespay/gone.go\n")
	require.ErrorContains(t, run("../..", args, io.Discard, io.Discard), "no longer part of the library")
}

func TestTestsThatNeedOthersAreLeftOut(t *testing.T) {
	p := &pkg{folder: "x", idents: make(map[string]bool), data: make(map[string][]byte)}
	dir := t.TempDir()
	for name, code := range map[string]string{
		"x.go":      "package x\nfunc F() {}\nfunc help() {}",
		"a_test.go": "package x\nimport \"" + geth + "/rpc\"\nvar a = rpc.X\nfunc help2() {}\nfunc F() {}",
		"b_test.go": "package x\nvar b = a",
		"c_test.go": "package x\nfunc f() { b := 1; _ = b }",
		"d_test.go": "package x\nfunc g() { _ = b }",
		"e_test.go": "package x\nfunc h() { F(); help() }",
	} {
		write(t, filepath.Join(dir, name), code)
		require.NoError(t, p.readFile(dir, name))
	}
	c := &copied{target: target{options: options{module: acme}}}
	out := make(map[string]string)
	for f, why := range c.leaveOut(p, map[string]bool{"rpc": true}) {
		out[f.name] = why
	}
	require.Equal(t, map[string]string{
		"a_test.go": "needs rpc",
		"b_test.go": "needs a of a test that is left out",
		"d_test.go": "needs b of a test that is left out",
	}, out)
}

func TestModuleFilesAreUnderstood(t *testing.T) {
	m := parseModule("// head\nmodule \"example.com/a\" // c\ngo 1.20\nrequire x.org/one v1.0.0\nrequire (\n\tx.org/two/v2 v2.1.0\n" +
		"\tx.org/three v0.1.0 // indirect\n)\nreplace (\n\tx.org/four v1.0.0 => x.org/five v1.0.0\n)\n")
	require.Equal(t, module{"example.com/a", "1.20", []string{"x.org/one v1.0.0", "x.org/two/v2 v2.1.0"}}, m)
	r, ok := m.requirement("x.org/two/v2/sub")
	require.True(t, ok)
	require.Equal(t, "x.org/two/v2 v2.1.0", r)
	_, ok = m.requirement("x.org/oneandmore")
	require.False(t, ok)
}

// ---------------------------------------------------------------------------

// mustCopy runs the command and returns what it says.
func mustCopy(t *testing.T, args ...string) string {
	t.Helper()
	var said strings.Builder
	require.NoError(t, run("../..", args, &said, io.Discard))
	return said.String()
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

func rewriteText(t *testing.T, to *target, code string) ([]byte, error) {
	t.Helper()
	p := &pkg{idents: make(map[string]bool)}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "p.go"), code)
	require.NoError(t, p.readFile(dir, "p.go"))
	return to.rewrite(p.files[0], p.idents)
}

func gofmt(t *testing.T, code string) string {
	t.Helper()
	text, err := format.Source([]byte(code))
	require.NoError(t, err)
	return string(text)
}

// afterHead cuts off what the command puts on top of a file.
func afterHead(t *testing.T, text []byte) string {
	t.Helper()
	_, code, ok := strings.Cut(string(text), "//go:build go1.25\n\n")
	require.True(t, ok)
	return code
}

func withoutComments(code string) string {
	var lines []string
	for line := range strings.Lines(code) {
		line, _, _ = strings.Cut(line, "//")
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
