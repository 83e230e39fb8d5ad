package lespool

import (
	"slices"
	"strings"
	"testing"
)

// The checks of repo_test.go and docs_test.go, tried on snippets that break
// exactly one rule each: a check that cannot fail would show here.

func TestImportCheckFindsViolations(t *testing.T) {
	tests := []struct {
		about, file, imports, want string
	}{
		{"standard library", "nodestate/x.go", `"time"`, ""},
		{"allowed package of the module", "serverpool/x.go", `"github.com/lespool/lespool/nodestate"`, ""},
		{"allowed outside package", "lespay/x.go", `"github.com/ethereum/go-ethereum/rlp"`, ""},
		{"example", "examples/lightclient/x.go", `"github.com/ethereum/go-ethereum/p2p"`, ""},
		{"example of the module", "examples/a/b/x.go", `"github.com/lespool/lespool/udpquery"`, ""},
		{"against the arrow", "nodestate/x.go", `"github.com/lespool/lespool/serverpool"`,
			"nodestate must not import serverpool"},
		{"the pool never knows the query", "serverpool/x.go", `"github.com/lespool/lespool/udpquery"`,
			"serverpool must not import udpquery"},
		{"test helpers in the library", "lespay/x.go", `"github.com/lespool/lespool/internal/testutil"`,
			"lespay must not import internal/testutil"},
		{"outside package that is not listed", "udpquery/x.go", `"github.com/ethereum/go-ethereum/p2p/discover"`,
			"udpquery must not import github.com/ethereum/go-ethereum/p2p/discover"},
		{"a longer path", "lespay/x.go", `"github.com/hashicorp/golang-lru/v2/expirable"`,
			"must not import github.com/hashicorp/golang-lru/v2/expirable"},
		{"cgo", "lespay/x.go", `"C"`, "must not import C"},
		{"renamed", "lespay/x.go", `x "github.com/miekg/dns"`, "must not import github.com/miekg/dns"},
		{"folder without a row", "surprise/x.go", `"time"`, "no row in the table"},
	}
	for _, tt := range tests {
		f, err := parse(tt.file, "package p\nimport "+tt.imports+"\n")
		if err != nil {
			t.Fatal(err)
		}
		expectComplaint(t, tt.about, checkImports(f), tt.want)
	}
}

func TestPurityCheckFindsViolations(t *testing.T) {
	tests := []struct {
		about, code, want string
	}{
		{"durations are fine", `import "time"; const d = 3*time.Second`, ""},
		{"a clock that is handed in", `import "github.com/ethereum/go-ethereum/common/mclock"
			func f(c mclock.Clock) mclock.AbsTime { return c.Now() }`, ""},
		{"an injected source", `import "math/rand/v2"
			func f(r *rand.Rand) int { return r.IntN(3) }
			func g(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }`, ""},
		{"a variable named like a package", `import "time"; var _ time.Duration
			func f() { time := struct{ Now int }{}; _ = time.Now }`, ""},
		{"wall time", `import "time"; var x = time.Now()`, "uses time.Now"},
		{"wall time, renamed", `import tm "time"; var x = tm.Since`, "uses time.Since"},
		{"wall time, dot import", `import . "time"; var x = Now()`, "dot import of time"},
		{"timer", `import "time"; var x = time.AfterFunc(0, nil)`, "uses time.AfterFunc"},
		{"raw monotonic clock", `import "github.com/ethereum/go-ethereum/common/mclock"
			var x = mclock.Now()`, "mclock.Now"},
		{"system clock", `import "github.com/ethereum/go-ethereum/common/mclock"
			var x = mclock.System{}`, "mclock.System"},
		{"global random source", `import "math/rand/v2"; var x = rand.IntN(3)`, "uses math/rand/v2.IntN"},
		{"the old package", `import "math/rand"; var x = rand.New(nil)`, "uses math/rand.New"},
		{"secure random source", `import "crypto/rand"; var x = rand.Reader`, "uses crypto/rand.Reader"},
		{"goroutine", `func f() { go f() }`, "starts a goroutine"},
		{"goroutine in a closure", `var f = func() { go func() {}() }`, "starts a goroutine"},
	}
	for _, tt := range tests {
		f, err := parse("x.go", "package p\n"+tt.code)
		if err != nil {
			t.Fatalf("%s: %v", tt.about, err)
		}
		expectComplaint(t, tt.about, checkPurity(f), tt.want)
	}
}

func TestPackageDocCheck(t *testing.T) {
	for code, want := range map[string]bool{
		"// Package p does.\npackage p":     true,
		"// Command p does.\npackage main":  true,
		"package p":                         false,
		"// Package p does.\n\npackage p":   false, // a blank line cuts it off
		"// Package q does.\npackage p":     false,
		"// Something else.\npackage p":     false,
		"// Command p does.\npackage other": false,
	} {
		f, err := parse("x.go", code)
		if err != nil {
			t.Fatal(err)
		}
		if got := hasPackageDoc(f); got != want {
			t.Errorf("hasPackageDoc(%q) = %v", code, got)
		}
	}
}

func expectComplaint(t *testing.T, about string, got []string, want string) {
	t.Helper()
	ok := len(got) == 0
	if want != "" {
		ok = slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) })
	}
	if !ok {
		t.Errorf("%s: got %q, want %q", about, got, want)
	}
}

func TestMarkdownCodeCheckFindsErrors(t *testing.T) {
	tests := []struct {
		about, text, want string
	}{
		{"whole file", "```go\npackage main\n\nfunc main() {}\n```\n", ""},
		{"fragment with an unused variable", "```go\na, b := 1, 2\n```\n", ""},
		{"fragment that returns", "```go\nvar err error\nif err != nil {\n\treturn\n}\n```\n", ""},
		{"several blocks", "```go\npackage main\n\nfunc main() {}\n```\n```go\nx := 1\n```\n", ""},
		{"imports are found", "```go\nctx := context.Background()\n```\n", ""},
		{"parameters", "<!-- go: s string -->\n\n```go\nn := len(s)\n```\n", ""},
		{"other language", "```sh\nmake test\n```\n", ""},
		{"does not parse", "text\n```go\nx := := 1\n```\n", "page.md:3"},
		{"does not type-check", "text\n```go\nvar x int = \"\"\n```\n", "page.md:3"},
		{"whole file with an unused variable", "```go\npackage p\n\nfunc f() { x := 1 }\n```\n", "declared and not used"},
		{"parameters hold for the next block only",
			"<!-- go: s string -->\n```go\n_ = s\n```\n```go\n_ = s\n```\n", "undefined: s"},
		{"unknown package", "```go\n_ = nowhere.X\n```\n", "undefined: nowhere"},
		{"internal package", "```go\npackage p\n\nimport _ \"github.com/lespool/lespool/internal/wrs\"\n```\n",
			"a reader cannot import"},
		{"block without an end", "```go\nx := y\n", "undefined: y"},
	}
	for _, tt := range tests {
		out, err := compile(t, codeBlocks("page.md", tt.text))
		var got []string
		if err != nil {
			got = []string{out + err.Error()}
		}
		expectComplaint(t, tt.about, got, tt.want)
	}
}

func TestLinkCheckFindsBrokenLinks(t *testing.T) {
	expectComplaint(t, "file", checkLinks("x.md", "[a](CHANGELOG.md#added) [b](https://go.dev) [c](#here)"), "")
	expectComplaint(t, "from below", checkLinks("nodestate/x.md", "[a](../LICENSE)"), "")
	expectComplaint(t, "broken", checkLinks("x.md", "[a](docs/none.md)"), "broken link to docs/none.md")
}

func TestNameCheckFindsForeignNames(t *testing.T) {
	known := map[string]bool{"README.md": true}
	for text, want := range map[string]string{
		"see README.md":                    "",
		"listens on 127.0.0.1/8, all *.md": "",
		"https://example.org/root/x":       "",
		"see pool.md, section 3":           "a page that is not here: pool.md",
		"cd /home/me && make":              "path of one machine",
		`os.ReadFile("/root/nodes.txt")`:   "path of one machine",
		"fixes issue #12":                  "entry of a tracker",
	} {
		expectComplaint(t, text, checkNames("x.go", text, known), want)
	}
}
